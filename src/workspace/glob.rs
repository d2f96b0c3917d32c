//! Which paths a list of patterns means: in order, the last match wins, `!` takes out.
//!
//! A pattern without glob characters, a literal, is the path it names and everything below it. Literals
//! are looked up, because a task may list thousands of them; globs are tried one by one. A glob is
//! globset's, with `*` and `?` stopping at `/`. Compiling one costs some 50 µs, so that happens when a path
//! first gets as far as the pattern's leading folders.

use std::sync::OnceLock;

use globset::{Candidate, Glob, GlobBuilder, GlobMatcher};

use super::Error;
use super::walk::outermost;
use crate::model::{PathIndex, Pattern, WorkspacePath};

/// Patterns, ready to match.
#[derive(Debug)]
pub struct Globs {
    literals: PathIndex<Literal>,
    rules: Vec<Rule>,
}

/// A pattern without glob characters.
#[derive(Clone, Copy, Debug)]
struct Literal {
    /// Its position in the list of patterns.
    at: usize,
    negated: bool,
}

/// A pattern with glob characters.
#[derive(Debug)]
struct Rule {
    /// Its position in the list of patterns.
    at: usize,
    negated: bool,
    /// The leading components that hold no glob characters.
    base: WorkspacePath,
    glob: Lazy,
    /// The components of the glob after `base`.
    tail: Vec<Component>,
    /// Where the glob means everything below some folders: the glob of those folders.
    folders: Option<Lazy>,
}

#[derive(Debug)]
struct Lazy {
    glob: Glob,
    matcher: OnceLock<GlobMatcher>,
}

/// One component of a glob.
#[derive(Debug)]
enum Component {
    /// `**`, or something else that may match a `/`: any number of components.
    Any,
    /// Exactly one component.
    One(Lazy),
}

/// As long as a path may be.
const MAX_LENGTH: usize = 4096;
/// Far more than anybody writes, and far less than the regular expression behind a glob can bear.
const MAX_BRACES: usize = 32;

/// Why a text is no glob.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadGlob {
    /// Its grammar.
    #[error("{}", .0.kind())]
    Syntax(#[from] globset::Error),
    /// Longer than any path.
    #[error("it is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Braces within braces, deeper than anybody writes.
    #[error("its braces nest more than {MAX_BRACES} levels deep")]
    TooDeep,
}

/// Parses a glob over paths: `*` and `?` stop at `/`, `\` escapes. Whatever this accepts compiles: globset
/// panics where a glob's regular expression is too large for it, so the bounds keep well below that.
pub fn parse_glob(text: &str) -> Result<Glob, BadGlob> {
    check_bounds(text)?;
    Ok(GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build()?)
}

/// A glob over names that are no paths: `*` and `?` match any character.
pub fn compile_name_glob(text: &str) -> Result<GlobMatcher, BadGlob> {
    check_bounds(text)?;
    Ok(Glob::new(text)?.compile_matcher())
}

fn check_bounds(text: &str) -> Result<(), BadGlob> {
    if text.len() > MAX_LENGTH {
        return Err(BadGlob::TooLong);
    }
    let (mut depth, mut deepest, mut escaped) = (0_usize, 0, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => {}
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = !escaped && byte == b'\\';
        deepest = deepest.max(depth);
    }
    if deepest > MAX_BRACES { Err(BadGlob::TooDeep) } else { Ok(()) }
}

impl Lazy {
    fn new(text: &str) -> Result<Self, Error> {
        let glob = parse_glob(text).map_err(|source| Error::Glob { glob: text.to_owned(), source })?;
        Ok(Self { glob, matcher: OnceLock::new() })
    }

    fn matches(&self, bytes: &[u8]) -> bool {
        let matcher = self.matcher.get_or_init(|| self.glob.compile_matcher());
        matcher.is_match_candidate(&Candidate::from_bytes(bytes))
    }
}

impl Globs {
    /// Compiles patterns, which keep their order.
    ///
    /// # Errors
    /// One of them is no glob.
    pub fn new(patterns: &[Pattern]) -> Result<Self, Error> {
        let (mut literals, mut rules) = (Vec::new(), Vec::new());
        for (at, pattern) in patterns.iter().enumerate() {
            match &pattern.literal {
                Some(path) => literals.push((path.clone(), Literal { at, negated: pattern.negated })),
                None => rules.push(Rule::new(at, pattern)?),
            }
        }
        Ok(Self { literals: literals.into_iter().collect(), rules })
    }

    /// Is `path` meant?
    pub fn matches(&self, path: &WorkspacePath) -> bool {
        self.is_negated(path) == Some(false)
    }

    /// Whether the last pattern that matches `path` begins with `!`; none if no pattern matches.
    fn is_negated(&self, path: &WorkspacePath) -> Option<bool> {
        let literal = self.literals.around(path).max_by_key(|literal| literal.at);
        let glob = self.behind(literal).find(|rule| rule.matches(path)).map(|rule| rule.negated);
        glob.or(literal.map(|literal| literal.negated))
    }

    /// The globs behind a literal in the list, the last one first; all of them where there is none.
    fn behind(&self, literal: Option<&Literal>) -> impl Iterator<Item = &Rule> {
        let at = literal.map(|literal| literal.at);
        self.rules.iter().rev().take_while(move |rule| at.is_none_or(|at| rule.at > at))
    }

    /// Is `path` taken out by a `!`?
    pub fn excludes(&self, path: &WorkspacePath) -> bool {
        self.is_negated(path) == Some(true)
    }

    /// The folders in which the globs may match something: where a walk has to look. None lies within
    /// another. Literals are not among them, for they need no walk unless they are folders.
    pub fn bases(&self) -> Vec<WorkspacePath> {
        let globs = self.rules.iter().filter(|rule| !rule.negated);
        outermost(globs.map(|rule| rule.base.clone()).collect())
    }

    /// Could `folder`, or a path below it, be meant? Never wrongly no; yes where it cannot be told without
    /// the names of the files, but not where a later `!` takes out the whole folder.
    pub fn could_match_within(&self, folder: &WorkspacePath) -> bool {
        let around = self.literals.around(folder);
        let below = self.literals.below(folder).filter(|literal| !literal.negated);
        let literal = around.chain(below).max_by_key(|literal| literal.at);
        for rule in self.behind(literal) {
            if rule.negated && rule.covers(folder) {
                return false;
            }
            if !rule.negated && rule.reaches(folder) {
                return true;
            }
        }
        literal.is_some_and(|literal| !literal.negated)
    }
}

impl Rule {
    fn new(at: usize, pattern: &Pattern) -> Result<Self, Error> {
        let text = pattern.glob.trim_end_matches('/');
        let text = if pattern.folder { format!("{text}/**") } else { text.to_owned() };
        let glob = Lazy::new(&text)?;
        let components = split(&text);
        let leading = components.iter().map_while(|component| literal(component));
        let base = leading.fold(WorkspacePath::root(), |base, name| base.join(name.as_bytes()));
        let tail = components
            .iter()
            .skip(base.components().count())
            .map(|component| {
                if may_cross(component) {
                    Ok(Component::Any)
                } else {
                    Lazy::new(component).map(Component::One)
                }
            })
            .collect::<Result<_, _>>()?;
        let folders = text.strip_suffix("/**").or_else(|| text.strip_suffix("/**/*"));
        let folders = folders.map(Lazy::new).transpose()?;
        Ok(Self { at, negated: pattern.negated, base, glob, tail, folders })
    }

    fn matches(&self, path: &WorkspacePath) -> bool {
        path.is_within(&self.base) && self.glob.matches(path.as_bytes())
    }

    /// Does it match everything below `folder`?
    fn covers(&self, folder: &WorkspacePath) -> bool {
        let above = std::iter::successors(Some(folder.clone()), WorkspacePath::parent);
        self.folders
            .as_ref()
            .is_some_and(|folders| above.into_iter().any(|at| folders.matches(at.as_bytes())))
            || matches!(self.glob.glob.glob(), "**" | "**/*")
    }

    /// Could it match `folder` or something below it?
    fn reaches(&self, folder: &WorkspacePath) -> bool {
        if self.base.is_within(folder) {
            return true;
        }
        if !folder.is_within(&self.base) {
            return false;
        }
        let below = folder.components().skip(self.base.components().count());
        let mut tail = self.tail.iter();
        for name in below {
            match tail.next() {
                Some(Component::Any) => return true,
                Some(Component::One(glob)) if glob.matches(name) => {}
                _ => return false,
            }
        }
        true
    }
}

/// The components of a glob, split at each `/` outside of braces and classes.
fn split(glob: &str) -> Vec<&str> {
    let mut components = Vec::new();
    let (mut start, mut depth, mut escaped) = (0, 0_usize, false);
    // Where the class began, of whose characters a `]` ends it unless it is the first.
    let mut class: Option<usize> = None;
    for (at, char) in glob.char_indices() {
        match (char, class) {
            (']', Some(began)) if !matches!(&glob[began + 1..at], "" | "!" | "^") => class = None,
            (_, Some(_)) => {}
            _ if escaped => escaped = false,
            ('\\', _) => escaped = true,
            ('[', _) => class = Some(at),
            ('{', _) => depth += 1,
            ('}', _) => depth = depth.saturating_sub(1),
            ('/', _) if depth == 0 => {
                components.push(&glob[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    components.push(&glob[start..]);
    components.retain(|component| !component.is_empty());
    components
}

/// Could a component match a `/`? Classes do when they name it, span it or are negated.
fn may_cross(component: &str) -> bool {
    let bytes = component.as_bytes();
    ["**", "/", "[!", "[^"].iter().any(|sign| component.contains(sign))
        || (bytes.contains(&b'[')
            && bytes.windows(3).any(|at| at[1] == b'-' && (at[0]..=at[2]).contains(&b'/')))
}

/// The name that a component stands for, where it holds no glob characters.
fn literal(component: &str) -> Option<String> {
    let mut name = String::with_capacity(component.len());
    let mut chars = component.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => name.push(chars.next()?),
            '*' | '?' | '[' | ']' | '{' | '}' => return None,
            char => name.push(char),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_as_a_glob_compiles_however_hostile_it_is() {
        let worst = ["*a", "[!a]", "{a,b}", "**/", "?", "[a-z]", "{*,?}", "{a,{b,{c,*}}}", "é*", "\\{"];
        for piece in worst {
            let text = piece.repeat(MAX_LENGTH / piece.len());
            let glob = parse_glob(&text).unwrap();
            glob.compile_matcher().is_match("a/b");
            compile_name_glob(&text).unwrap();
        }
        let nested = |depth: usize| format!("{}a*{}", "{*[!b],".repeat(depth), "}".repeat(depth));
        parse_glob(&nested(MAX_BRACES)).unwrap().compile_matcher();
        assert_eq!(parse_glob(&nested(MAX_BRACES + 1)), Err(BadGlob::TooDeep));
        assert_eq!(parse_glob(&"*".repeat(MAX_LENGTH + 1)), Err(BadGlob::TooLong));
    }
    use crate::model::At;

    fn path(text: &str) -> WorkspacePath {
        if text.is_empty() { WorkspacePath::root() } else { WorkspacePath::new(text).unwrap() }
    }

    /// Patterns as a manifest has them: `!` in front negates, `/` at the end means the folder.
    fn globs(patterns: &str) -> Globs {
        let pattern = |text: &str| {
            let (negated, glob) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
            let special = glob.contains(['*', '?', '[', '{', '\\']);
            Pattern {
                glob: glob.to_owned(),
                negated,
                literal: (!special).then(|| path(glob)),
                folder: glob.ends_with('/'),
                at: At::default(),
            }
        };
        Globs::new(&patterns.split(' ').map(pattern).collect::<Vec<_>>()).unwrap()
    }

    fn within(patterns: &str, folder: &str) -> bool {
        globs(patterns).could_match_within(&path(folder))
    }

    /// Every path of `yes` is meant, and none of `no`.
    fn check(patterns: &str, yes: &str, no: &str) {
        let globs = globs(patterns);
        for (paths, meant) in [(yes, true), (no, false)] {
            for text in paths.split_ascii_whitespace() {
                let path = path(text);
                assert_eq!(globs.matches(&path), meant, "{patterns}: {text}");
                let folders = std::iter::successors(Some(path), WorkspacePath::parent);
                for folder in folders.filter(|_| meant) {
                    assert!(globs.could_match_within(&folder), "{patterns}: {text} is within {folder}");
                }
                let walked = globs.bases().iter().any(|base| self::path(text).is_within(base));
                let literal = globs.literals.holds(&self::path(text));
                assert!(!meant || walked || literal, "{patterns}: {text} is not within the bases");
            }
        }
    }

    #[test]
    fn a_star_stops_at_a_slash_and_hidden_files_match() {
        check("src/*.rs", "src/a.rs src/.rs src/.a.rs", "src/a/b.rs a.rs src/a.rsx src");
        check("src/**/*.rs", "src/a.rs src/a/b.rs src/.a/.b.rs", "a.rs srcs/a.rs");
        check("**/test", "test a/test a/b/test", "a/tests test/a");
        check("a?c", "abc a.c", "a/c ac");
        check("{a,b/c}/*.h", "a/x.h b/c/x.h", "b/x.h c/x.h a/c/x.h");
        check("a[!b]c", "axc a/c", "abc");
        check("**", "a a/b .a", "");
    }

    #[test]
    fn a_literal_means_itself_and_all_below_it() {
        check("src", "src src/a src/a/b", "srcs a/src");
        check("src/", "src/a src/a/b", "srcs/a");
        check("s*c/", "src/a src/a/b sc/a", "src a/src/b");
    }

    #[test]
    fn escaped_characters_are_literal_in_a_glob() {
        check(r"\[a\]/*.md", "[a]/x.md", "a/x.md");
        assert_eq!(globs(r"\[a\]/*.md").bases(), [path("[a]")]);
    }

    #[test]
    fn the_last_match_wins() {
        check("src/** !src/gen/** src/gen/keep.rs", "src/a src/gen/keep.rs", "src/gen/a");
        check("!src/gen/** src/**", "src/gen/a", "");
        check("src !src/gen", "src/a src/gens", "src/gen src/gen/a");
        check("!a", "", "a b");
    }

    #[test]
    fn literals_and_globs_keep_their_order_however_they_are_mixed() {
        check("a/* !a/b a/b/c", "a/x a/b/c a/b/c/d", "a/b a/b/x");
        check("a/b !a/* a/b/c", "a/b/c a/b/x", "a/b a/x");
        check("!a a/b !a/b/c a/b/c/d", "a/b a/b/x a/b/c/d", "a a/x a/b/c a/b/c/x");
        check("a !a a/b !**/*.o a/b/x.o", "a/b a/b/y a/b/x.o", "a a/x a/b/y.o");
        assert!(within("a/b/c !a/b", "a") && !within("a/b/c !a/b", "a/b"));
        assert!(within("!a a/b", "a") && !within("a/b !a", "a"));
    }

    #[test]
    fn bases_are_the_folders_that_a_walk_has_to_enter() {
        let bases =
            |patterns| globs(patterns).bases().iter().map(WorkspacePath::to_string).collect::<Vec<_>>();
        assert_eq!(bases("src/**/*.rs src/a/*.c docs/*.md lit !x/*"), ["docs", "src"]);
        assert_eq!(bases("a/b?/c a/[x]/d"), ["a"]);
        assert_eq!(bases("*.md src/*.rs"), ["."]);
        assert_eq!(bases("a/x/* a.b/* a/*"), ["a", "a.b"]);
        assert_eq!(bases("lit").len(), 0);
    }

    #[test]
    fn a_folder_is_out_of_reach_when_no_path_below_it_could_match() {
        assert!(within("src/**/*.rs", "src"));
        assert!(within("src/**/*.rs", "src/gen/deep"));
        assert!(within("src/**/*.rs", ""));
        assert!(!within("src/**/*.rs", "docs"));
        assert!(!within("src/*.rs", "src/gen"));
        assert!(within("*/gen/*.rs", "src/gen"));
        assert!(!within("*/gen/*.rs", "src/other"));
        assert!(within("src", "src/gen") && within("src/gen/a", "src"));
        assert!(within("{a,b/c}/d", "b/c"));
        assert!(within("x{a/b,c}y/d", "xa/by"));
        assert!(within("a[.-0]b/c", "a/b"));
    }

    #[test]
    fn a_folder_that_is_taken_out_as_a_whole_is_out_of_reach() {
        for excluded in ["!gen/**", "!gen/", "!gen", "!g*/**", "!**", "!**/gen/**", "!gen/**/*", "!ge?"] {
            assert_eq!(within(&format!("** {excluded}"), "gen"), excluded == "!ge?", "{excluded}");
        }
        assert!(!within("** !gen/", "gen/deep"));
        assert!(within("** !gen/deep/", "gen"));
        assert!(within("** !gen/ gen/keep", "gen"));
        assert!(within("!gen/ **", "gen"));
    }

    #[test]
    fn what_is_no_glob_is_named() {
        let error = Globs::new(&[Pattern {
            glob: "a{b".to_owned(),
            negated: false,
            literal: None,
            folder: false,
            at: At::default(),
        }]);
        assert_eq!(error.unwrap_err().to_string(), "`a{b` is no glob");
    }
}
