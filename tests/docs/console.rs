//! What the pages show on a console is what the program does.

use crate::transcript::{run, sessions};
use crate::{all_pages, read};

#[track_caller]
fn check(page: &str) {
    let sessions = sessions(&read(page));
    assert!(!sessions.is_empty(), "{page} shows nothing");
    let wrong: Vec<String> = sessions.iter().flat_map(run).collect();
    assert!(wrong.is_empty(), "{page} and the program differ\n\n{}", wrong.join("\n"));
}

#[test]
fn the_readme_shows_what_happens() {
    check("README.md");
}

#[test]
fn the_guide_shows_what_happens() {
    check("docs/guide.md");
}

#[test]
fn the_page_of_the_cache_shows_what_happens() {
    check("docs/cache.md");
}

#[test]
fn no_other_page_has_console_blocks_that_nobody_runs() {
    let shown: Vec<String> =
        all_pages().into_iter().filter(|page| read(page).contains("```console")).collect();
    assert_eq!(shown, ["README.md", "docs/cache.md", "docs/guide.md"]);
}
