//! Values by path, looked up by the paths around a path or below it.
//!
//! A list of patterns or of outputs may have thousands of entries, and a task may read thousands of
//! files. Holding each file against each entry is quadratic, so both are looked up here. Does not know
//! the meaning of the values.

use super::WorkspacePath;

/// Values by path, sorted. One path may have several, which keep their order.
#[derive(Clone, Debug)]
pub struct PathIndex<T> {
    sorted: Vec<(WorkspacePath, T)>,
}

impl<T> Default for PathIndex<T> {
    fn default() -> Self {
        Self { sorted: Vec::new() }
    }
}

impl<T> FromIterator<(WorkspacePath, T)> for PathIndex<T> {
    fn from_iter<I: IntoIterator<Item = (WorkspacePath, T)>>(entries: I) -> Self {
        let mut sorted: Vec<_> = entries.into_iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self { sorted }
    }
}

impl PathIndex<()> {
    /// A set of paths.
    pub fn set<'a>(paths: impl IntoIterator<Item = &'a WorkspacePath>) -> Self {
        paths.into_iter().map(|path| (path.clone(), ())).collect()
    }
}

impl<T> PathIndex<T> {
    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The values of `path` itself and of the folders around it, the root first.
    pub fn around<'a>(&'a self, path: &'a WorkspacePath) -> impl Iterator<Item = &'a T> {
        let bytes = path.as_bytes();
        let slashes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let whole = Some(bytes.len()).filter(|length| *length > 0);
        std::iter::once(0).chain(slashes).chain(whole).flat_map(|end| self.at(&bytes[..end]))
    }

    /// The values of the paths below `folder`, without its own.
    pub fn below<'a>(&'a self, folder: &'a WorkspacePath) -> impl Iterator<Item = &'a T> {
        // Names such as `a-b` sort between `a` and `a/b`, so the range begins behind the slash.
        let prefix = if folder.is_root() { Vec::new() } else { [folder.as_bytes(), b"/"].concat() };
        let start = self.sorted.partition_point(|(path, _)| path.as_bytes() < prefix.as_slice());
        self.sorted[start..]
            .iter()
            .take_while(move |(path, _)| path.as_bytes().starts_with(&prefix))
            .filter(|(path, _)| !path.is_root())
            .map(|(_, value)| value)
    }

    /// True if `path`, or a folder around it, has an entry.
    pub fn holds(&self, path: &WorkspacePath) -> bool {
        !self.sorted.is_empty() && self.around(path).next().is_some()
    }

    fn at(&self, path: &[u8]) -> impl Iterator<Item = &T> {
        let start = self.sorted.partition_point(|(other, _)| other.as_bytes() < path);
        let same = self.sorted[start..].iter().take_while(move |(other, _)| other.as_bytes() == path);
        same.map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkspacePath {
        if text.is_empty() { WorkspacePath::root() } else { WorkspacePath::new(text).unwrap() }
    }

    fn index(paths: &str) -> PathIndex<String> {
        paths.split(',').map(|text| (path(text), text.to_owned())).collect()
    }

    #[test]
    fn around_a_path_are_its_folders_and_the_path_itself() {
        let index = index("a/b,a,,a-b,a/b/c,a/bc,b");
        let around = |text: &str| index.around(&path(text)).cloned().collect::<Vec<_>>().join(",");
        assert_eq!(around("a/b"), ",a,a/b");
        assert_eq!(around("a/b/c/d"), ",a,a/b,a/b/c");
        assert_eq!(around("a-b/x"), ",a-b");
        assert_eq!(around(""), "");
        assert_eq!(index.around(&path("")).count(), 1);
    }

    #[test]
    fn below_a_folder_is_what_its_name_and_a_slash_begin() {
        let index = index("a/b,a,,a-b,a/b/c,a/bc,b");
        let below = |text: &str| index.below(&path(text)).cloned().collect::<Vec<_>>().join(",");
        assert_eq!(below("a"), "a/b,a/b/c,a/bc");
        assert_eq!(below("a/b"), "a/b/c");
        assert_eq!(below("b"), "");
        assert_eq!(below(""), "a,a-b,a/b,a/b/c,a/bc,b");
    }

    #[test]
    fn values_of_one_path_keep_their_order() {
        let index: PathIndex<u32> = [(path("a"), 2), (path("b"), 0), (path("a"), 1)].into_iter().collect();
        assert_eq!(index.around(&path("a/x")).copied().collect::<Vec<_>>(), [2, 1]);
        assert!(index.holds(&path("b")) && !index.holds(&path("ab")));
        assert!(!PathIndex::<()>::default().holds(&path("a")));
    }
}
