//! The worked example of `docs/keys.md`: its bytes are put together here by hand, from the page's rules
//! and without the program's encoder, and lead to the key that the program prints.

use std::fmt::Write as _;

use crate::{Place, generated};

const MANIFEST: &str = "\
conductor: 1
tasks:
  copy:
    inputs: [in.txt]
    env: { MODE: fast }
    outputs: [out.txt]
    run: cat in.txt > out.txt
    validate:
      - non_empty: out.txt
";
const INPUT: &[u8] = b"hello\n";

/// An encoding on its way: its bytes, and a line of text for each field.
struct Encoding {
    name: &'static str,
    bytes: Vec<u8>,
    lines: String,
}

impl Encoding {
    fn new(name: &'static str, domain: &str) -> Self {
        Self { name, bytes: Vec::new(), lines: String::new() }.text(domain)
    }

    fn raw(mut self, bytes: &[u8], says: &str) -> Self {
        self.bytes.extend_from_slice(bytes);
        let _ = writeln!(self.lines, "{:<66}{says}", hex(bytes));
        self
    }

    fn count(self, count: u64, says: &str) -> Self {
        self.raw(&count.to_le_bytes(), says)
    }

    fn text(self, text: &str) -> Self {
        self.count(text.len() as u64, "length").raw(text.as_bytes(), &format!("{text:?}"))
    }

    fn digest(self, digest: &[u8; 32], says: &str) -> Self {
        self.raw(digest, says)
    }

    fn finish(self, page: &mut String) -> [u8; 32] {
        let digest = *blake3::hash(&self.bytes).as_bytes();
        let _ =
            writeln!(page, "**{}**\n\n```text\n{}```\n\nBLAKE3: `{}`\n", self.name, self.lines, hex(&digest));
        digest
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The example's section of the page, the key and the validation's key.
fn example() -> (String, [u8; 32], [u8; 32]) {
    let mut page = format!("```yaml\n{MANIFEST}```\n\n`in.txt` holds `hello` and a line end.\n\n");
    let definition = Encoding::new("The definition", "conductor definition 1")
        .count(2, "parts")
        .text("run")
        .text("sh cat in.txt > out.txt")
        .text("output")
        .text("out.txt")
        .finish(&mut page);
    let env = Encoding::new("The variables", "conductor env 1")
        .count(1, "variables")
        .text("MODE")
        .raw(&[1], "it is set")
        .text("fast")
        .finish(&mut page);
    let tools = Encoding::new("The tools", "conductor tools 1").count(0, "tools").finish(&mut page);
    let file = |encoding: Encoding, path: &str, content: &[u8]| {
        let digest = blake3::hash(content);
        encoding
            .text(path)
            .raw(&[1], "kind: a file")
            .raw(&[0], "not executable")
            .digest(digest.as_bytes(), "BLAKE3 of its content")
    };
    let inputs = Encoding::new("The inputs", "conductor inputs 1").count(1, "inputs");
    let inputs = file(inputs, "in.txt", INPUT).finish(&mut page);
    let needs =
        Encoding::new("The needed outputs", "conductor needs 1").count(0, "outputs").finish(&mut page);
    let key = Encoding::new("The key", "conductor action 1")
        .digest(&definition, "the definition")
        .digest(&env, "the variables")
        .digest(&tools, "the tools")
        .digest(&inputs, "the inputs")
        .digest(&needs, "the needed outputs")
        .finish(&mut page);
    let checked = Encoding::new("What the checks read beside the task's inputs", "conductor inputs 1")
        .count(0, "inputs")
        .finish(&mut page);
    let outputs = Encoding::new("The outputs", "conductor outputs 1").count(1, "outputs");
    let outputs = file(outputs, "out.txt", INPUT).finish(&mut page);
    let validation = Encoding::new("The validation's key", "conductor validation 1")
        .count(1, "checks")
        .text("non_empty out.txt")
        .text("")
        .digest(&checked, "what the checks read")
        .digest(&outputs, "the outputs")
        .digest(&env, "the variables")
        .digest(&tools, "the tools")
        .digest(&inputs, "the inputs")
        .digest(&needs, "the needed outputs")
        .finish(&mut page);
    (page.trim_end().to_owned(), key, validation)
}

#[test]
fn the_worked_example_of_a_key_is_what_the_program_computes() {
    let (page, key, _) = example();
    generated::check("docs/keys.md", "example", &page);
    let place = Place::new();
    std::fs::write(place.work().join("conductor.yaml"), MANIFEST).unwrap();
    std::fs::write(place.work().join("in.txt"), INPUT).unwrap();
    let output = place.command("conductor").args(["build", "--format", "json"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["tasks"]["copy"]["key"], hex(&key));
}

#[test]
fn the_worked_example_of_a_validation_key_is_what_the_program_computes() {
    use conductor::model::{Action, Digest, Entry, EntryKind, Input, OutputEntry, Validation, WorkspacePath};
    let (_, key, validation) = example();
    let file = |content: &[u8]| Entry { digest: Digest::of(content), ..Entry::bare(EntryKind::File) };
    let action = Action {
        definition: vec![
            ("run".to_owned(), "sh cat in.txt > out.txt".to_owned()),
            ("output".to_owned(), "out.txt".to_owned()),
        ],
        env: vec![("MODE".to_owned(), Some("fast".to_owned()))],
        inputs: vec![Input {
            path: WorkspacePath::new("in.txt").unwrap(),
            entry: file(INPUT),
            from: None,
            via: conductor::model::Via::Inputs,
        }],
        ..Action::default()
    };
    assert_eq!(action.key().0.to_hex(), hex(&key));
    let checks = vec!["non_empty out.txt".to_owned()];
    let outputs = [OutputEntry { path: WorkspacePath::new("out.txt").unwrap(), entry: file(INPUT) }];
    let own = Validation { checks, dir: String::new(), inputs: Vec::new() };
    assert_eq!(own.key(&action.components(), &outputs).to_hex(), hex(&validation));
}
