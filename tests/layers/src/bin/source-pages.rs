//! Writes `docs/sources/<source>.md` for every source file; `--check` only says which pages are stale.

use cloudsync_layers::manifest::load::sources;
use cloudsync_layers::source_pages::{page, page_path};
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> io::Result<ExitCode> {
    let check = env::args().any(|argument| argument == "--check");
    let mut stale = 0;
    for source in sources() {
        let (path, text) = (page_path(&source), page(&source));
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        stale += 1;
        if check {
            println!("stale: docs/sources/{}.md", source.source);
        } else {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(&path, text)?;
            println!("wrote docs/sources/{}.md", source.source);
        }
    }
    Ok(if check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
