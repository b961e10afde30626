//! Text as a stream of characters or words.

use std::path::{Path, PathBuf};

use super::encoding::{self, MARK};
use super::{LoadOptions, Part, TokenKind, Vocabulary, read, tail_length};
use crate::error::{Error, Result};
use crate::file;
use crate::fingerprint::Fingerprint;

/// The parts of a text, as streams of token numbers in the vocabulary.
#[derive(Clone, Debug)]
pub struct Text {
    /// The training part; never empty.
    pub train: Vec<i32>,
    /// The validation part, if there is one.
    pub valid: Option<Vec<i32>>,
    /// The test part, if there is one.
    pub test: Option<Vec<i32>>,
    /// The distinct tokens of all parts.
    pub vocabulary: Vocabulary,
    /// The least mean loss that any model can reach, in nats per token; known for generated text.
    pub entropy_rate: Option<f64>,
    /// Where it was read from, if it was.
    pub files: Option<TextFiles>,
}

/// Where a text was read from.
#[derive(Clone, Debug)]
pub struct TextFiles {
    /// A file, or the folder of the parts' files.
    place: PathBuf,
    /// The first file whose lines end with a carriage return and a line feed.
    windows: Option<PathBuf>,
    /// Names of other texts in the folder, which are not read.
    others: Vec<String>,
}

impl Text {
    /// Numbers the tokens of the parts.
    pub(super) fn new(
        kind: TokenKind,
        train: &str,
        valid: Option<&str>,
        test: Option<&str>,
    ) -> Text {
        let vocabulary = Vocabulary::of(kind, [Some(train), valid, test].into_iter().flatten());
        let codes = |part: &str| -> Vec<i32> {
            let code = |token| vocabulary.code(token).expect("it has the tokens of all parts");
            kind.whole(part).map(code).collect()
        };
        let (train, valid, test) = (codes(train), valid.map(codes), test.map(codes));
        Text { train, valid, test, vocabulary, entropy_rate: None, files: None }
    }

    /// Without a validation part, the last `share` of the training part becomes it.
    fn with_validation(mut self, share: f64) -> Text {
        let count = tail_length(self.train.len(), share);
        if self.valid.is_none() && count > 0 {
            self.valid = Some(self.train.split_off(self.train.len() - count));
        }
        self
    }

    /// The tokens of one part.
    pub fn part(&self, part: Part) -> Option<&[i32]> {
        match part {
            Part::Train => Some(&self.train),
            Part::Valid => self.valid.as_deref(),
            Part::Test => self.test.as_deref(),
        }
    }

    /// Cuts a part's stream into `batch_size` consecutive columns of equal length; a remainder that fills no row is left
    /// out.
    ///
    /// # Errors
    /// [`Error::Input`] if the part is missing or a column would be shorter than two tokens.
    pub fn columns(&self, part: Part, batch_size: usize) -> Result<Columns> {
        let name = part.name();
        let Some(stream) = self.part(part) else {
            return Err(Error::field("data", format!("the text has no {name} part")));
        };
        let rows = stream.len().checked_div(batch_size).unwrap_or(0);
        if rows < 2 {
            let file = self.file_of(part).map(|file| format!(" of {}", file.display()));
            let message = format!(
                "the {name} text{} has {} {}s, too few for {batch_size} columns of at least 2",
                file.unwrap_or_default(),
                stream.len(),
                self.vocabulary.kind().name()
            );
            return Err(Error::field("batch_size", message));
        }
        let mut tokens = vec![0; rows * batch_size];
        for (index, column) in stream.chunks_exact(rows).take(batch_size).enumerate() {
            let own = tokens[index..].iter_mut().step_by(batch_size);
            own.zip(column).for_each(|(to, from)| *to = *from);
        }
        Ok(Columns { tokens, rows, batch_size })
    }

    /// The file that a part was read from. A validation part may come from the training part's file.
    fn file_of(&self, part: Part) -> Option<PathBuf> {
        let place = &self.files.as_ref()?.place;
        let own = |part| file_in(place, part);
        Some(match (place.is_dir(), own(part)) {
            (false, _) => place.clone(),
            (true, file) if file.exists() => file,
            (true, _) => own(Part::Train),
        })
    }

    /// Lines about texts that are not read, about line ends, and about accents.
    pub(super) fn notes(&self) -> Vec<String> {
        let others = self.files.iter().filter(|files| !files.others.is_empty()).map(|files| {
            let names = files.others.join(", ");
            format!(
                "not read: {names}; the texts of a folder are train.txt, valid.txt and test.txt"
            )
        });
        others.chain(self.note_on_line_ends()).chain(self.note_on_marks()).collect()
    }

    fn note_on_marks(&self) -> Option<String> {
        let mark = u32::from(self.vocabulary.mark()?);
        Some(format!(
            "has combining marks such as U+{mark:04X}, as decomposed text (NFD) has: an accent is a character beside its letter, and \
             composed text (NFC) looks the same but is other characters to the model; unicodedata.normalize(\"NFC\", text) in Python composes letters"
        ))
    }

    fn note_on_line_ends(&self) -> Option<String> {
        let file = self.files.as_ref()?.windows.as_ref()?.display();
        let effect = match self.vocabulary.kind() {
            TokenKind::Character => "the CR is a character to learn; tr -d '\\r' takes it out",
            TokenKind::Word => "the CR is no part of a word",
        };
        Some(format!("{file}: lines end with CR and LF, as on Windows; {effect}"))
    }

    /// Renumbers the tokens by another vocabulary, such as a trained model's. Panics if that lacks a token.
    pub(crate) fn renumber(&mut self, vocabulary: Vocabulary) {
        let code = |token| vocabulary.code(token).expect("the vocabulary has the token");
        let codes: Vec<i32> = self.vocabulary.tokens().map(code).collect();
        let parts = [Some(&mut self.train), self.valid.as_mut(), self.test.as_mut()];
        for code in parts.into_iter().flatten().flatten() {
            *code = codes[*code as usize];
        }
        self.vocabulary = vocabulary;
    }

    pub(super) fn fingerprint(&self) -> String {
        let mut fingerprint = Fingerprint::default();
        fingerprint.numbers([self.vocabulary.len() as u64]);
        let characters = self.vocabulary.token_list();
        fingerprint.numbers(characters.chars().map(|character| u64::from(u32::from(character))));
        for part in [Part::Train, Part::Valid, Part::Test] {
            match self.part(part) {
                Some(tokens) => fingerprint.integers(tokens),
                None => fingerprint.numbers([u64::MAX]),
            }
        }
        fingerprint.hex()
    }
}

/// A stream in columns, `[rows, batch_size]`: each column is a consecutive piece of the text.
#[derive(Clone, Debug)]
pub struct Columns {
    tokens: Vec<i32>,
    rows: usize,
    batch_size: usize,
}

/// Some consecutive rows of the columns, with the tokens that follow them as targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window<'a> {
    /// Number of rows T.
    pub length: usize,
    /// The input tokens, `[T, B]`.
    pub tokens: &'a [i32],
    /// The tokens to predict, one row further on, `[T * B]`.
    pub targets: &'a [i32],
}

impl Columns {
    /// All tokens, `[rows, columns]`.
    pub fn tokens(&self) -> &[i32] {
        &self.tokens
    }

    /// Number of columns.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Number of tokens in a column.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of windows of up to `bptt` rows.
    pub fn window_count(&self, bptt: usize) -> usize {
        (self.rows - 1).div_ceil(bptt)
    }

    /// Window `number`, counted from 0. Panics from [`Columns::window_count`] on.
    pub fn window(&self, number: usize, bptt: usize) -> Window<'_> {
        let (start, end) = (number * bptt, ((number + 1) * bptt).min(self.rows - 1));
        assert!(start < end, "window {number} of {} windows", self.window_count(bptt));
        let rows =
            |from: usize, to: usize| &self.tokens[from * self.batch_size..to * self.batch_size];
        Window { length: end - start, tokens: rows(start, end), targets: rows(start + 1, end + 1) }
    }

    /// All windows of `bptt` rows in order; the last may be short.
    pub fn windows(&self, bptt: usize) -> impl ExactSizeIterator<Item = Window<'_>> {
        (0..self.window_count(bptt)).map(move |number| self.window(number, bptt))
    }
}

/// Reads a text file, or `train.txt`, `valid.txt` and `test.txt` of a folder (the last two may be missing). Without a
/// validation part, the last `valid_split` of the training part's tokens becomes one.
///
/// # Errors
/// [`Error::Input`] if a file is missing, empty or not UTF-8.
pub fn load(path: &Path, kind: TokenKind, options: &LoadOptions) -> Result<Text> {
    let mut windows = None;
    let mut read_text = |path: &Path| {
        let text = decode(read(path)?, path, options.first_rules)?;
        if windows.is_none() && text.contains("\r\n") {
            windows = Some(path.to_owned());
        }
        if options.first_rules { Ok(text) } else { without_mark(text, path) }
    };
    let text = if path.is_dir() {
        let of_part = |part: Part| file_in(path, part);
        let mut files = [Part::Train, Part::Valid, Part::Test].into_iter().map(of_part);
        if let Some(dangling) = files.find(|own| file::is_dangling(own)) {
            return Err(Error::file(&dangling, file::DANGLING));
        }
        if !of_part(Part::Train).exists() {
            return Err(no_text_in(path));
        }
        let train = read_text(&of_part(Part::Train))?;
        let mut optional = |part| match of_part(part).exists() {
            true => read_text(&of_part(part)).map(Some),
            false => Ok(None),
        };
        let (valid, test) = (optional(Part::Valid)?, optional(Part::Test)?);
        Text::new(kind, &train, valid.as_deref(), test.as_deref())
    } else {
        Text::new(kind, &read_text(path)?, None, None)
    };
    let text = text.with_validation(options.valid_split);
    let files = TextFiles { place: path.to_owned(), windows, others: other_texts(path) };
    Ok(Text { files: Some(files), ..text })
}

/// The names of a folder's texts that are of no part, in order.
fn other_texts(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_part = |name: &str| {
        [Part::Train, Part::Valid, Part::Test]
            .iter()
            .any(|part| name == format!("{}.txt", part.name()))
    };
    let mut others: Vec<String> =
        names.filter(|name| name.ends_with(".txt") && !is_part(name)).collect();
    others.sort();
    others
}

/// The file of a part in a folder of texts.
fn file_in(folder: &Path, part: Part) -> PathBuf {
    folder.join(format!("{}.txt", part.name()))
}

fn no_text_in(folder: &Path) -> Error {
    let message = "no text here. Looked for train.txt, and valid.txt and test.txt beside it";
    let images = match folder.join("train").is_dir() {
        true => "; its folder train is of images, for other models",
        false => "",
    };
    Error::file(folder, format!("{message}{images}"))
}

/// A file's bytes as text, without a byte-order mark; `path` is for messages.
///
/// # Errors
/// [`Error::Input`] if there are no bytes, or if they are not UTF-8; it names the first faulty byte and a likely encoding.
pub fn parse(bytes: Vec<u8>, path: &Path) -> Result<String> {
    without_mark(decode(bytes, path, false)?, path)
}

fn decode(bytes: Vec<u8>, path: &Path, first_rules: bool) -> Result<String> {
    if bytes.is_empty() {
        return Err(Error::file(path, "is empty"));
    }
    if file::is_pointer(&bytes) {
        return Err(Error::file(path, file::POINTER_ADVICE));
    }
    if let Some(message) = encoding::wide(&bytes, path).filter(|_| !first_rules) {
        return Err(Error::file(path, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        Error::file(path, encoding::guess(error.as_bytes(), byte, path))
    })
}

/// Drops the mark with which some editors begin a file.
fn without_mark(mut text: String, path: &Path) -> Result<String> {
    if text.starts_with(MARK) {
        text.drain(..MARK.len());
    }
    if text.is_empty() { Err(Error::file(path, "is empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files
            .iter()
            .for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
        folder
    }

    fn options(valid_split: f64) -> LoadOptions {
        LoadOptions { valid_split, ..LoadOptions::default() }
    }

    fn load(path: &Path, valid_split: f64) -> Result<Text> {
        super::load(path, TokenKind::Character, &options(valid_split))
    }

    fn decode(text: &Text, codes: &[i32]) -> String {
        let mut decoded = String::new();
        codes.iter().for_each(|&code| text.vocabulary.append(&mut decoded, code as usize));
        decoded
    }

    #[test]
    fn a_file_is_split_by_characters_and_kept_as_it_is() {
        let content = "bä\r\n€a\tbbb";
        let folder = folder(&[("text", content.as_bytes())]);
        let text = load(&folder.path().join("text"), 0.25).unwrap();
        assert_eq!(text.vocabulary.token_list(), "\t\n\rabä€");
        assert_eq!(decode(&text, &text.train), "bä\r\n€a\tb");
        assert_eq!(decode(&text, text.valid.as_ref().unwrap()), "bb");
        assert!(text.test.is_none());
        assert!(load(&folder.path().join("text"), 0.05).unwrap().valid.is_none());
    }

    #[test]
    fn a_folder_has_one_vocabulary() {
        let both = folder(&[("train.txt", b"aab"), ("test.txt", b"xa"), ("valid.txt", b"c")]);
        let text = load(both.path(), 0.5).unwrap();
        assert_eq!(text.vocabulary.token_list(), "abcx");
        assert_eq!(
            (text.train, text.valid, text.test),
            (vec![0, 0, 1], Some(vec![2]), Some(vec![3, 0]))
        );
        let one = folder(&[("train.txt", b"abcd")]);
        let text = load(one.path(), 0.25).unwrap();
        assert_eq!((text.train, text.valid, text.test), (vec![0, 1, 2], Some(vec![3]), None));
    }

    #[test]
    fn words_are_split_in_file_order() {
        let folder = folder(&[("text", b"no it\nwas black\n\nmonday")]);
        let text =
            super::load(&folder.path().join("text"), TokenKind::Word, &options(0.45)).unwrap();
        assert_eq!(text.vocabulary.token_list(), "<eos>\nblack\nit\nmonday\nno\nwas");
        assert_eq!(
            (&text.train[..], text.valid.as_deref()),
            (&[4, 2, 0, 5, 1][..], Some(&[0, 0, 3, 0][..]))
        );
        assert_eq!(decode(&text, &text.train), "no it\nwas black");
    }

    #[test]
    fn bad_text_is_named() {
        let bad = folder(&[
            ("empty", b""),
            ("latin", b"caf\xe9 au lait"),
            ("cut", "ab€".as_bytes().split_at(4).0),
        ]);
        let message = |name: &str| load(&bad.path().join(name), 0.2).unwrap_err().to_string();
        assert!(message("empty").ends_with("empty: is empty"));
        assert!(
            message("latin")
                .contains("latin: is not UTF-8 text: byte 3 is invalid; it is probably Latin-1")
        );
        assert!(message("cut").contains("byte 2 is invalid; the rest looks like UTF-8"));
        assert!(message("nothing").contains("could not be read"));
        assert!(load(bad.path(), 0.2).unwrap_err().to_string().contains("Looked for train.txt"));
        let half = folder(&[("train.txt", b"ab"), ("test.txt", b"")]);
        assert!(load(half.path(), 0.2).unwrap_err().to_string().ends_with("test.txt: is empty"));
    }

    #[test]
    fn a_byte_order_mark_is_no_character() {
        let files = folder(&[
            ("text", "\u{feff}ab\u{feff}".as_bytes()),
            ("train.txt", "\u{feff}ab".as_bytes()),
            ("valid.txt", "\u{feff}ba".as_bytes()),
            ("only", "\u{feff}".as_bytes()),
        ]);
        let text = load(&files.path().join("text"), 0.0).unwrap();
        // In the middle it is a character like any other.
        assert_eq!(text.vocabulary.token_list(), "ab\u{feff}");
        assert_eq!(load(files.path(), 0.0).unwrap().vocabulary.token_list(), "ab");
        let error = load(&files.path().join("only"), 0.0).unwrap_err().to_string();
        assert!(error.ends_with("only: is empty"), "{error}");
        let first = LoadOptions { first_rules: true, ..options(0.0) };
        let text = super::load(files.path(), TokenKind::Character, &first).unwrap();
        assert_eq!(text.vocabulary.token_list(), "ab\u{feff}");
    }

    #[test]
    fn line_ends_of_windows_are_noted_once() {
        let files = folder(&[
            ("train.txt", b"a b\r\nc\r\n"),
            ("valid.txt", b"a\r\n"),
            ("unix", b"a\nb\rc\n"),
        ]);
        let note =
            |path: &Path, kind| super::load(path, kind, &options(0.0)).unwrap().note_on_line_ends();
        let characters = note(files.path(), TokenKind::Character).unwrap();
        assert!(characters.contains("train.txt: lines end with CR and LF"), "{characters}");
        assert!(characters.ends_with("the CR is a character to learn; tr -d '\\r' takes it out"));
        assert!(note(files.path(), TokenKind::Word).unwrap().ends_with("no part of a word"));
        assert_eq!(note(&files.path().join("unix"), TokenKind::Character), None);
    }

    #[test]
    fn columns_follow_the_stream_and_windows_the_columns() {
        let text =
            Text { train: (0..14).collect(), ..Text::new(TokenKind::Character, "a", None, None) };
        let columns = text.columns(Part::Train, 3).unwrap();
        assert_eq!((columns.rows(), columns.batch_size(), columns.window_count(2)), (4, 3, 2));
        let windows: Vec<_> = columns.windows(2).collect();
        assert_eq!(windows[0].tokens, [0, 4, 8, 1, 5, 9]);
        assert_eq!(windows[0].targets, [1, 5, 9, 2, 6, 10]);
        assert_eq!((windows[1].length, windows[1].tokens), (1, &[2, 6, 10][..]));
        assert_eq!(windows[1].targets, [3, 7, 11]);
        assert_eq!(windows.len(), 2);
        assert_eq!(columns.windows(3).len(), 1);
    }

    #[test]
    fn a_text_shorter_than_a_batch_is_an_error() {
        let text = Text::new(TokenKind::Character, "0123456789", None, None);
        assert!(text.columns(Part::Train, 5).is_ok());
        let error = text.columns(Part::Train, 6).unwrap_err().to_string();
        assert_eq!(
            error,
            "`batch_size`: the train text has 10 characters, too few for 6 columns of at least 2"
        );
        assert!(text.columns(Part::Train, 0).is_err());
        let files = folder(&[("train.txt", b"abcdefghij"), ("test.txt", b"abc")]);
        let message =
            |path: &Path, part| load(path, 0.2).unwrap().columns(part, 6).unwrap_err().to_string();
        for (path, part, file) in [
            (files.path().join("test.txt"), Part::Train, "test.txt"),
            (files.path().join("train.txt"), Part::Valid, "train.txt"),
            (files.path().to_owned(), Part::Valid, "train.txt"),
            (files.path().to_owned(), Part::Test, "test.txt"),
        ] {
            let error = message(&path, part);
            assert!(error.contains(&format!("/{file} has ")), "{error}");
        }
        assert!(text.columns(Part::Test, 1).unwrap_err().to_string().contains("no test part"));
    }
}
