use super::*;

#[test]
fn all_built_in_files_are_good() {
    for (name, text) in FILES {
        match parse(text) {
            Ok(source) => assert_eq!(&source.source, name, "a file is called as its source"),
            Err(error) => panic!("sources/{name}.json: {error}"),
        }
    }
    assert_eq!(sources().count(), FILES.len());
}
