//! Names that git accepts, made of task ids, which hold what git refuses (`:`, `[`).
//!
//! Two ids never get one name, and a name tells its id: an id's own characters stay, `:` becomes `@`,
//! `T1[os=a]` becomes `T1@os=a`, and everything else that git refuses, with `%` and `/`, becomes `%XX`.

use std::fmt::Write as _;

use crate::model::Digest;

/// Where conductor's branches are.
const BRANCHES: &str = "conductor/";

/// The longest name that stays as it is. A file name holds 255 bytes, and git adds `.lock`.
const LONGEST: usize = 200;

/// The branch of the task `id`: `conductor/T1`, `conductor/api@T1`, `conductor/T1@os=a,v=1`.
pub fn branch_name(id: &str) -> String {
    format!("{BRANCHES}{}", component(id))
}

/// One component of a reference's name, made of `id`.
pub(super) fn component(id: &str) -> String {
    let (base, matrix) = match id.strip_suffix(']').and_then(|id| id.split_once('[')) {
        Some((base, matrix)) => (base, Some(matrix)),
        None => (id, None),
    };
    let mut name = String::with_capacity(id.len());
    encode_base(base, &mut name);
    if let Some(matrix) = matrix {
        name.push('@');
        encode_matrix(matrix, &mut name);
    }
    encode_end(&mut name);
    if name.len() <= LONGEST {
        return name;
    }
    let mut end = LONGEST - 40;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    // `%-` begins no encoded byte, so that no short name looks like a shortened one.
    format!("{}%-{}", &name[..end], &Digest::of(id.as_bytes()).to_hex()[..32])
}

fn encode_base(base: &str, name: &mut String) {
    for c in base.chars() {
        match c {
            ':' => name.push('@'),
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' => name.push(c),
            '.' if !name.is_empty() && !name.ends_with('.') => name.push('.'),
            other => escape(other, name),
        }
    }
}

/// Values keep whatever git takes. The first `=` ends the first key: until there an `@` would be mistaken for
/// the end of a namespace.
fn encode_matrix(matrix: &str, name: &mut String) {
    let mut in_key = true;
    for c in matrix.chars() {
        in_key &= c != '=';
        let refused = matches!(c, '%' | '/' | ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
            || c.is_control()
            || (c == '@' && in_key)
            || (c == '{' && name.ends_with('@'))
            || (c == '.' && (name.ends_with('.') || name.ends_with('@')));
        if refused { escape(c, name) } else { name.push(c) }
    }
}

/// git refuses a name that ends in `.` or `.lock`.
fn encode_end(name: &mut String) {
    for end in [".lock", "."] {
        if let Some(rest) = name.strip_suffix(end) {
            *name = format!("{rest}%2E{}", &end[1..]);
        }
    }
    if name.is_empty() || name.starts_with('-') {
        name.insert_str(0, "%+");
    }
}

fn escape(c: char, name: &mut String) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        let _ = write!(name, "%{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_task_has_the_branch_that_the_contract_says() {
        assert_eq!(branch_name("T1"), "conductor/T1");
        assert_eq!(branch_name("api:T1"), "conductor/api@T1");
        assert_eq!(branch_name("T1[os=a,v=1]"), "conductor/T1@os=a,v=1");
        assert_eq!(branch_name("T1[os=a b:c]"), "conductor/T1@os=a%20b%3Ac");
        assert_eq!(branch_name("T1[os=ubuntu-22.04,cc=g++]"), "conductor/T1@os=ubuntu-22.04,cc=g++");
    }

    #[test]
    fn no_two_ids_share_a_branch_and_git_accepts_each() {
        let long = "x".repeat(300);
        let longer = "x".repeat(301);
        let matrix = format!("T[v={}]", "ä".repeat(150));
        let ids = [
            "T1",
            "T1.",
            "T1..a",
            "T1.lock",
            "T1.lock.",
            "a:T1",
            "a@T1",
            "T1[os=a]",
            "T1:os=a",
            "T1[os=a/b]",
            "T1[os=a%2Fb]",
            "T1[os=a@b]",
            "T1[os=a:b]",
            "T1[os=@{x}]",
            "T1[os=@]",
            "T1[a@b=1]",
            "T1:a[b=1]",
            "T1[os=..]",
            "T1[os=.]",
            "T1[os=x.lock]",
            "T1[os=a]]",
            "T1[os=[a]",
            "T1[os=a b]",
            "T1[os=a~^?*\\]",
            "T1[os=\u{7f}\n]",
            "T1[os=ü]",
            "T1[=.a]",
            "T1[.a=1]",
            "[",
            "",
            "-",
            "%+",
            "@",
            "T1[v=%-]",
            &long,
            &longer,
            &matrix,
        ];
        let mut names = BTreeMap::new();
        for id in ids {
            let name = branch_name(id);
            assert!(git2::Reference::is_valid_name(&format!("refs/heads/{name}")), "{id}: {name}");
            assert!(name.len() < 240, "{name}");
            assert_eq!(names.insert(name.clone(), id), None, "{name} twice, for {id}");
        }
    }
}
