//! The tokens of a text, and their numbers.

/// The token for the end of a line, among words.
pub const LINE_END: &str = "<eos>";

/// Whether a character is a combining mark, such as the accent of a decomposed letter.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// Whether a character is in a range where letters are composed with their accents: Latin, Greek and Cyrillic.
fn may_be_composed(c: char) -> bool {
    ('\u{c0}'..='\u{52f}').contains(&c) && !is_mark(c) || ('\u{1e00}'..='\u{1fff}').contains(&c)
}

/// Whether a text differs from others in the form in which Unicode's letters are written: composed with their accents (NFC), or
/// decomposed (NFD).
pub(super) fn differs_in_form<'a>(text: &str, mut others: impl Iterator<Item = &'a str>) -> bool {
    let is_decomposed = text.chars().any(is_mark);
    let is_other = |own: char| if is_decomposed { may_be_composed(own) } else { is_mark(own) };
    (is_decomposed || text.chars().any(may_be_composed))
        && others.any(|own| own.chars().any(is_other))
}

/// The advice on such texts.
pub(super) const FORMS: &str = "; these are written in different forms of Unicode, composed (NFC) and decomposed (NFD): \
    unicodedata.normalize(\"NFC\", text) in Python makes them one";

/// The kind of tokens that a text is split into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Characters, line ends included.
    Character,
    /// Words between white space, and `<eos>` at the end of every line.
    Word,
}

impl TokenKind {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            TokenKind::Character => "character",
            TokenKind::Word => "word",
        }
    }

    /// The tokens of a text that may be continued: a last line without a line end has no `<eos>`.
    pub(super) fn open<'a>(self, text: &'a str) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        match self {
            TokenKind::Character => {
                let one =
                    |(start, character): (usize, char)| &text[start..start + character.len_utf8()];
                Box::new(text.char_indices().map(one))
            }
            TokenKind::Word => Box::new(text.split_inclusive('\n').flat_map(|line| {
                let end = line.ends_with('\n').then_some(LINE_END);
                line.split_whitespace().chain(end)
            })),
        }
    }

    /// The tokens of a complete text: its last line always ends.
    pub(super) fn whole(self, text: &str) -> impl Iterator<Item = &str> {
        let is_open = self == TokenKind::Word && !text.is_empty() && !text.ends_with('\n');
        self.open(text).chain(is_open.then_some(LINE_END))
    }
}

/// The distinct tokens of a text, sorted by code point.
///
/// ```
/// use alrao::data::{TokenKind, Vocabulary};
/// let words = Vocabulary::of(TokenKind::Word, ["the cat\nthe dog"]);
/// assert_eq!(words.token_list(), "<eos>\ncat\ndog\nthe");
/// assert_eq!(words.encode("the dog"), Ok(vec![3, 2]));
/// assert_eq!(words.encode("the fox"), Err("fox"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    kind: TokenKind,
    tokens: Vec<String>,
}

impl Vocabulary {
    /// The distinct tokens of some complete texts.
    pub fn of<'a>(kind: TokenKind, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut seen = std::collections::HashSet::new();
        texts.into_iter().for_each(|text| seen.extend(kind.whole(text)));
        // The order of bytes in UTF-8 is that of code points.
        let mut tokens: Vec<String> = seen.into_iter().map(str::to_owned).collect();
        tokens.sort_unstable();
        Vocabulary { kind, tokens }
    }

    /// The vocabulary from the text that [`Vocabulary::token_list`] gave.
    pub fn from_token_list(kind: TokenKind, list: &str) -> Self {
        let own = |token: &str| token.to_owned();
        let tokens = match kind {
            TokenKind::Character => kind.whole(list).map(own).collect(),
            TokenKind::Word => list.split_terminator('\n').map(own).collect(),
        };
        Vocabulary { kind, tokens }
    }

    /// All tokens in order as one text, for a checkpoint: characters without separators, words one a line.
    pub fn token_list(&self) -> String {
        match self.kind {
            TokenKind::Character => self.tokens.concat(),
            TokenKind::Word => self.tokens.join("\n"),
        }
    }

    /// Whether the tokens are characters or words.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the vocabulary is empty.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// All tokens, in the order of their numbers.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tokens.iter().map(String::as_str)
    }

    /// The number of a token.
    pub fn code(&self, token: &str) -> Option<i32> {
        let place = self.tokens.binary_search_by(|own| own.as_str().cmp(token));
        place.ok().map(|code| code as i32)
    }

    /// The first combining mark of the tokens.
    pub(super) fn mark(&self) -> Option<char> {
        self.tokens().flat_map(str::chars).find(|c| is_mark(*c))
    }

    /// The end of a message about a token that is not in the vocabulary, where the reason may be the form in which Unicode's
    /// letters are written: composed with their accents (NFC), or decomposed (NFD).
    pub(crate) fn advice_on_form(&self, unknown: &str) -> &'static str {
        match (unknown.chars().any(is_mark), self.mark().is_some()) {
            (true, false) => {
                "; it has a combining mark, as decomposed text (NFD) has, and the model's text has none: \
                 unicodedata.normalize(\"NFC\", text) in Python composes letters"
            }
            (false, true) if unknown.chars().any(may_be_composed) => {
                "; the model's text has combining marks, as decomposed text (NFD) has: \
                 unicodedata.normalize(\"NFD\", text) in Python decomposes letters"
            }
            _ => "",
        }
    }

    /// The number of the token that ends a line.
    pub fn line_end(&self) -> Option<i32> {
        match self.kind {
            TokenKind::Character => self.code("\n"),
            TokenKind::Word => self.code(LINE_END),
        }
    }

    /// The token numbers of a text that is to be continued.
    ///
    /// # Errors
    /// The first token that is not in the vocabulary.
    pub fn encode<'a>(&self, text: &'a str) -> Result<Vec<i32>, &'a str> {
        self.kind.open(text).map(|token| self.code(token).ok_or(token)).collect()
    }

    /// Appends the token with this number to a text: a space separates words, and the end of a line becomes a line break.
    /// Panics if no token has this number.
    pub fn append(&self, text: &mut String, code: usize) {
        let token = &self.tokens[code];
        if self.kind == TokenKind::Word {
            if token == LINE_END {
                text.push('\n');
                return;
            }
            if text.chars().next_back().is_some_and(|last| !last.is_whitespace()) {
                text.push(' ');
            }
        }
        text.push_str(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        TokenKind::Word.whole(text).collect()
    }

    #[test]
    fn every_line_ends() {
        assert_eq!(
            words(" no it\twas \r\n\n n't"),
            ["no", "it", "was", "<eos>", "<eos>", "n't", "<eos>"]
        );
        assert_eq!(words("one\n"), ["one", "<eos>"]);
        assert_eq!(words("  "), ["<eos>"]);
        assert!(words("").is_empty());
    }

    #[test]
    fn a_prompt_goes_on() {
        let vocabulary = Vocabulary::of(TokenKind::Word, ["b a\nc"]);
        assert_eq!(vocabulary.encode("a\nb"), Ok(vec![1, 0, 2]));
        assert_eq!(vocabulary.encode(""), Ok(vec![]));
        let mut text = String::from("a\nb");
        [3, 0, 1, 2].into_iter().for_each(|code| vocabulary.append(&mut text, code));
        assert_eq!(text, "a\nb c\na b");
    }

    #[test]
    fn a_letter_in_another_form_is_told_of() {
        let [composed, decomposed, plain] = ["caf\u{e9}", "cafe\u{301}", "cafe"]
            .map(|text| Vocabulary::of(TokenKind::Word, [text]));
        assert!(composed.advice_on_form("cafe\u{301}").contains("\"NFC\""));
        assert!(plain.advice_on_form("\u{301}").contains("\"NFC\""));
        assert!(decomposed.advice_on_form("caf\u{e9}").contains("\"NFD\""));
        for (own, unknown) in [
            (&composed, "tea"),
            (&decomposed, "tea"),
            (&decomposed, "\u{4e2d}"),
            (&composed, "\u{e8}"),
        ] {
            assert_eq!(own.advice_on_form(unknown), "", "{unknown}");
        }
        assert_eq!([composed.mark(), decomposed.mark()], [None, Some('\u{301}')]);
    }

    #[test]
    fn tokens_are_sorted_by_code_point() {
        let tokens = |kind, text| Vocabulary::of(kind, [text]).tokens;
        assert_eq!(
            tokens(TokenKind::Word, "é Zeta a €\u{10000}"),
            ["<eos>", "Zeta", "a", "é", "€\u{10000}"]
        );
        assert_eq!(
            tokens(TokenKind::Character, "\u{10000}\u{ffff}é\n"),
            ["\n", "é", "\u{ffff}", "\u{10000}"]
        );
    }

    #[test]
    fn a_token_list_gives_back_the_vocabulary() {
        for kind in [TokenKind::Character, TokenKind::Word] {
            let own = Vocabulary::of(kind, ["to be\nor not", "äöü "]);
            assert_eq!(Vocabulary::from_token_list(kind, &own.token_list()), own);
        }
    }
}
