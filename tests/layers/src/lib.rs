//! Compiles `manifest`, `http` and `extract` in a crate that does not depend on pgrx.
//!
//! That is the proof that these layers know nothing of Postgres, and it lets their tests run in seconds.

#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/extract/mod.rs"]
pub mod extract;
#[path = "../../../src/http/mod.rs"]
pub mod http;
#[path = "../../../src/manifest/mod.rs"]
pub mod manifest;
#[path = "../../../src/secret.rs"]
pub mod secret;

pub mod quiet_runs;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod source_format;
pub mod source_pages;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// All files below a folder.
    fn files(folder: &Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    /// Compiling here proves it for this build; the names prove it for code under `cfg`, too.
    #[test]
    fn the_layers_below_the_wrapper_know_nothing_of_postgres() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
        let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("pgrx"), "this crate must not depend on pgrx");
        let layers: Vec<_> =
            ["manifest", "http", "extract"].iter().flat_map(|layer| files(&source.join(layer))).collect();
        assert!(layers.len() > 30, "only {} files were found", layers.len());
        for file in layers.iter().chain(&[source.join("error.rs"), source.join("secret.rs")]) {
            let text = std::fs::read_to_string(file).unwrap();
            for name in ["pgrx", "pg_sys", "crate::spi", "crate::catalog", "crate::refresh", "crate::fdw"] {
                assert!(!text.contains(name), "{} names {name}", file.display());
            }
        }
    }
}
