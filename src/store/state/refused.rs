//! Files of the state that are not used: set aside under another name, with a warning.

use std::path::Path;

use crate::model::Diagnostic;
use crate::store::Access;
use crate::store::sealed::Refused;

/// Sets the file `name` aside, where that is allowed, and says so.
pub(super) fn set_aside(dir: &Path, name: &str, refused: &Refused, access: Access) -> Diagnostic {
    let path = dir.join(name);
    let (code, what, suffix) = match refused {
        Refused::Version(version) => {
            let what = format!("has format version {version}, which this conductor does not know");
            ("state::version", what, format!("v{version}"))
        }
        Refused::Damaged => ("state::damaged", "is damaged".to_owned(), free_suffix(&path)),
        Refused::Io(error) => ("state::damaged", format!("cannot be read ({error})"), free_suffix(&path)),
    };
    let aside = format!("{name}.{suffix}");
    let moved = access == Access::Write && std::fs::rename(&path, dir.join(&aside)).is_ok();
    let done = if moved { format!("it was set aside as {aside}") } else { "it is not used".to_owned() };
    warning(code, format!("{} {what}; {done}", path.display()))
}

/// The end of the file `name` is damaged; the next commit cuts it off.
pub(super) fn cut_short(dir: &Path, name: &str) -> Diagnostic {
    warning("state::damaged", format!("the end of {} is damaged and is not used", dir.join(name).display()))
}

fn warning(code: &str, message: String) -> Diagnostic {
    Diagnostic::warning(code, message)
        .help("tasks whose results are no longer known run again; nothing else is lost")
}

/// `damaged-1`, `damaged-2`, …; the ninth is overwritten, so that they do not add up without end.
fn free_suffix(path: &Path) -> String {
    let free = (1..9).find(|number| !path.with_added_extension(format!("damaged-{number}")).exists());
    format!("damaged-{}", free.unwrap_or(9))
}
