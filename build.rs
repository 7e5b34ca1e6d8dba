//! Builds the source files in: every `sources/*.json` becomes an entry of `load.rs`, so a new app is one new file.
//!
//! Used by the extension and by `tests/layers`, whose manifest lies two folders deeper.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = ["sources", "../../sources"].iter().map(|place| manifest.join(place)).find(|path| path.is_dir());
    let folder = folder.ok_or_else(|| io::Error::other("no folder of source files beside the manifest"))?;
    let folder = folder.canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    files.sort();
    let entries: String = files.iter().map(|path| entry_of(path)).collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("source_files.rs");
    fs::write(out, format!("&[\n{entries}]\n"))
}

/// `("stripe", include_str!("/../sources/stripe.json")),`
fn entry_of(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("    ({name:?}, include_str!({:?})),\n", path.to_string_lossy())
}
