//! Parts of pages that are made from the code: between `<!-- begin NAME -->` and `<!-- end NAME -->`.
//! `CONDUCTOR_DOCS=write cargo test --test docs` writes them anew.

use crate::{read, root};

/// The part `name` of `page` is `text`, or becomes it.
#[track_caller]
pub(crate) fn check(page: &str, name: &str, text: &str) {
    let whole = read(page);
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let start = whole.find(&begin).unwrap_or_else(|| panic!("{page} has no {begin}")) + begin.len();
    let stop = whole.find(&end).unwrap_or_else(|| panic!("{page} has no {end}"));
    let wanted = format!("\n{text}\n\n");
    if whole[start..stop] == wanted {
        return;
    }
    if std::env::var_os("CONDUCTOR_DOCS").is_some_and(|mode| mode == "write") {
        let written = format!("{}{wanted}{}", &whole[..start], &whole[stop..]);
        std::fs::write(root().join(page), written).unwrap();
        return;
    }
    panic!("{page} is out of date; run CONDUCTOR_DOCS=write cargo test --test docs\n\n{wanted}");
}
