//! Generated text: short English sentences from a probabilistic grammar, whose entropy is known.

use super::{Text, TokenKind};
use crate::random::{Philox, Purpose, Stream};

/// The least characters for training, validation and testing; each part ends with a whole sentence.
const LENGTHS: [usize; 3] = [400_000, 50_000, 50_000];

/// Singular and plural.
const NOUNS: [(&str, &str); 24] = [
    (" cat", " cats"),
    (" dog", " dogs"),
    (" child", " children"),
    (" king", " kings"),
    (" mouse", " mice"),
    (" wolf", " wolves"),
    (" bird", " birds"),
    (" queen", " queens"),
    (" fox", " foxes"),
    (" tree", " trees"),
    (" man", " men"),
    (" woman", " women"),
    (" horse", " horses"),
    (" river", " rivers"),
    (" baker", " bakers"),
    (" goose", " geese"),
    (" stone", " stones"),
    (" lady", " ladies"),
    (" teacher", " teachers"),
    (" soldier", " soldiers"),
    (" mountain", " mountains"),
    (" thief", " thieves"),
    (" frog", " frogs"),
    (" neighbour", " neighbours"),
];
const TRANSITIVE: [(&str, &str); 14] = [
    (" sees", " see"),
    (" likes", " like"),
    (" hears", " hear"),
    (" follows", " follow"),
    (" finds", " find"),
    (" knows", " know"),
    (" carries", " carry"),
    (" watches", " watch"),
    (" fears", " fear"),
    (" forgets", " forget"),
    (" helps", " help"),
    (" teaches", " teach"),
    (" paints", " paint"),
    (" remembers", " remember"),
];
const INTRANSITIVE: [(&str, &str); 10] = [
    (" sleeps", " sleep"),
    (" runs", " run"),
    (" sings", " sing"),
    (" waits", " wait"),
    (" laughs", " laugh"),
    (" dances", " dance"),
    (" goes", " go"),
    (" dreams", " dream"),
    (" cries", " cry"),
    (" disappears", " disappear"),
];
const ADJECTIVES: [&str; 16] = [
    " old",
    " small",
    " young",
    " happy",
    " red",
    " quiet",
    " tall",
    " clever",
    " brave",
    " tired",
    " white",
    " strange",
    " gentle",
    " hungry",
    " beautiful",
    " invisible",
];
const ADVERBS: [&str; 8] =
    [" often", " quickly", " today", " alone", " never", " again", " slowly", " somewhere"];
const DETERMINERS: [[&str; 4]; 2] =
    [[" the", " one", " every", " this"], [" the", " some", " many", " these"]];
const OPENINGS: [[&str; 4]; 2] =
    [["The", "One", "Every", "This"], ["The", "Some", "Many", "These"]];
const COPULAS: [&str; 2] = [" is", " are"];
/// Probabilities of singular and plural.
const NUMBERS: [f64; 2] = [0.6, 0.4];

/// About half a million characters of English-like sentences, a function of the seed, with the grammar's entropy rate.
///
/// A model learns the spelling of words first, then their frequency and order. Last it learns that a verb agrees in number
/// with a noun that may be several words back: `The children that the old king fears are happy.` The text in words is the
/// same, with each full stop as a word of its own.
pub fn text(seed: u64, kind: TokenKind) -> Text {
    let grammar = Grammar::english();
    let philox = Philox::new(seed, Purpose::Data);
    let [train, valid, test] = std::array::from_fn(|part| {
        spelt(&grammar.sample(LENGTHS[part], &mut philox.stream(part as u64)), kind)
    });
    let entropy_rate = Some(grammar.entropy_rate(kind));
    Text { entropy_rate, ..Text::new(kind, &train, Some(&valid), Some(&test)) }
}

/// The text for tokens of this kind: among words, a full stop is a word of its own.
fn spelt(text: &str, kind: TokenKind) -> String {
    match kind {
        TokenKind::Character => text.to_owned(),
        TokenKind::Word => text.replace('.', " ."),
    }
}

/// A probabilistic context-free grammar. Each text has one derivation, so the entropy of texts is that of derivations.
struct Grammar {
    /// The expansions of each symbol; the first symbol is a sentence.
    expansions: Vec<Vec<Expansion>>,
}

struct Expansion {
    probability: f64,
    items: Vec<Item>,
}

#[derive(Clone, Copy)]
enum Item {
    Word(&'static str),
    Symbol(usize),
}

/// One word of a list, with probabilities by Zipf's law.
fn words(list: impl ExactSizeIterator<Item = &'static str>) -> Vec<Expansion> {
    let total: f64 = (1..=list.len()).map(|rank| 1.0 / rank as f64).sum();
    let one = |(rank, word)| Expansion {
        probability: 1.0 / (rank as f64 + 1.0) / total,
        items: vec![Item::Word(word)],
    };
    list.enumerate().map(one).collect()
}

/// Expansions with their probabilities.
fn choices<const N: usize>(choices: [(f64, &[Item]); N]) -> Vec<Expansion> {
    choices.map(|(probability, items)| Expansion { probability, items: items.to_vec() }).into()
}

impl Grammar {
    /// The grammar of the sentences. A symbol that depends on number exists twice, singular before plural.
    fn english() -> Grammar {
        use Item::{Symbol, Word};
        const OBJECT: Item = Symbol(1);
        const ADJECTIVES_: Item = Symbol(2);
        const ADJECTIVE: Item = Symbol(3);
        const MANNER: Item = Symbol(4);
        const ADVERB: Item = Symbol(5);
        const END: Item = Symbol(6);
        let opening = |number: usize| Symbol(7 + number);
        let determiner = |number: usize| Symbol(9 + number);
        let named = |number: usize| Symbol(11 + number);
        let noun = |number: usize| Symbol(13 + number);
        let relative = |number: usize| Symbol(15 + number);
        let predicate = |number: usize| Symbol(17 + number);
        let transitive = |number: usize| Symbol(19 + number);
        let intransitive = |number: usize| Symbol(21 + number);
        let pick = |number: usize, pair: &(&'static str, &'static str)| [pair.0, pair.1][number];

        let mut expansions = vec![
            choices([
                (NUMBERS[0], &[opening(0), named(0), predicate(0), END]),
                (NUMBERS[1], &[opening(1), named(1), predicate(1), END]),
            ]),
            choices([
                (NUMBERS[0], &[determiner(0), named(0)]),
                (NUMBERS[1], &[determiner(1), named(1)]),
            ]),
            choices([(0.6, &[]), (0.4, &[ADJECTIVE, ADJECTIVES_])]),
            words(ADJECTIVES.into_iter()),
            choices([(0.6, &[]), (0.4, &[ADVERB])]),
            words(ADVERBS.into_iter()),
            choices([(0.75, &[Word(". ")]), (0.25, &[Word(".\n")])]),
        ];
        let both = |expand: &dyn Fn(usize) -> Vec<Expansion>| [expand(0), expand(1)];
        expansions.extend(both(&|number| words(OPENINGS[number].into_iter())));
        expansions.extend(both(&|number| words(DETERMINERS[number].into_iter())));
        expansions.extend(both(&|number| {
            choices([(1.0, &[ADJECTIVES_, noun(number), relative(number)])])
        }));
        expansions.extend(both(&|number| words(NOUNS.iter().map(|pair| pick(number, pair)))));
        expansions.extend(both(&|number| {
            choices([
                (0.8, &[]),
                (0.12, &[Word(" that"), predicate(number)]),
                (0.05, &[Word(" that"), determiner(0), named(0), transitive(0)]),
                (0.03, &[Word(" that"), determiner(1), named(1), transitive(1)]),
            ])
        }));
        expansions.extend(both(&|number| {
            choices([
                (0.5, &[transitive(number), OBJECT]),
                (0.35, &[intransitive(number), MANNER]),
                (0.15, &[Word(COPULAS[number]), ADJECTIVE]),
            ])
        }));
        expansions.extend(both(&|number| words(TRANSITIVE.iter().map(|pair| pick(number, pair)))));
        expansions
            .extend(both(&|number| words(INTRANSITIVE.iter().map(|pair| pick(number, pair)))));
        Grammar { expansions }
    }

    /// Whole sentences of at least `length` characters together.
    fn sample(&self, length: usize, stream: &mut Stream) -> String {
        let mut text = String::with_capacity(length + 200);
        let mut waiting = Vec::new();
        while text.len() < length {
            waiting.push(Item::Symbol(0));
            while let Some(item) = waiting.pop() {
                match item {
                    Item::Word(word) => text.push_str(word),
                    Item::Symbol(symbol) => {
                        let expansion = self.draw(symbol, stream.uniform());
                        waiting.extend(expansion.items.iter().rev());
                    }
                }
            }
        }
        text
    }

    fn draw(&self, symbol: usize, mut place: f64) -> &Expansion {
        let expansions = &self.expansions[symbol];
        for expansion in expansions {
            place -= expansion.probability;
            if place < 0.0 {
                return expansion;
            }
        }
        &expansions[expansions.len() - 1]
    }

    /// The entropy of the text in nats a token. Sentences are independent, so it is the entropy of one over its mean
    /// length.
    fn entropy_rate(&self, kind: TokenKind) -> f64 {
        let entropy = self.expectation(|expansion| -expansion.probability.ln());
        let length = self.expectation(|expansion| {
            let length = |item: &Item| match item {
                Item::Word(word) => kind.open(&spelt(word, kind)).count(),
                Item::Symbol(_) => 0,
            };
            expansion.items.iter().map(length).sum::<usize>() as f64
        });
        entropy / length
    }

    /// The mean over sentences of the sum of `value` over all expansions in a sentence's derivation. It solves
    /// `e[s] = sum over expansions of s, p (value + sum over its symbols s', e[s'])`; iterating this from 0 converges.
    fn expectation(&self, value: impl Fn(&Expansion) -> f64) -> f64 {
        let mut means = vec![0.0; self.expansions.len()];
        loop {
            let of = |expansion: &Expansion| {
                let inner = expansion.items.iter().map(|item| match item {
                    Item::Word(_) => 0.0,
                    Item::Symbol(symbol) => means[*symbol],
                });
                expansion.probability * (value(expansion) + inner.sum::<f64>())
            };
            let next: Vec<f64> =
                self.expansions.iter().map(|expansions| expansions.iter().map(of).sum()).collect();
            let change = means.iter().zip(&next).map(|(old, new)| (new - old).abs());
            if change.fold(0.0, f64::max) < 1e-13 * next[0] {
                return next[0];
            }
            means = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Grammar {
        /// Every derivation of a prefix of `text` from the items: the prefix's length and its log-probability.
        fn parses(&self, items: &[Item], text: &str) -> Vec<(usize, f64)> {
            let Some((first, rest)) = items.split_first() else { return vec![(0, 0.0)] };
            let heads = match first {
                Item::Word(word) if text.starts_with(word) => vec![(word.len(), 0.0)],
                Item::Word(_) => vec![],
                Item::Symbol(symbol) => {
                    let own = self.expansions[*symbol].iter().flat_map(|expansion| {
                        let log = expansion.probability.ln();
                        let parses = self.parses(&expansion.items, text);
                        parses.into_iter().map(move |(end, inner)| (end, log + inner))
                    });
                    own.collect()
                }
            };
            let tails = heads.into_iter().flat_map(|(start, head)| {
                let tails = self.parses(rest, &text[start..]);
                tails.into_iter().map(move |(end, tail)| (start + end, head + tail))
            });
            tails.collect()
        }
    }

    fn string(text: &Text, codes: &[i32]) -> String {
        let mut string = String::new();
        codes.iter().for_each(|&code| text.vocabulary.append(&mut string, code as usize));
        string
    }

    #[test]
    fn probabilities_add_up() {
        for expansions in Grammar::english().expansions {
            let total: f64 = expansions.iter().map(|expansion| expansion.probability).sum();
            assert!((total - 1.0).abs() < 1e-12, "{total}");
        }
    }

    /// Parsed by its own grammar, each sentence of the text has exactly one derivation, and the mean log-probability of a
    /// token is the stated rate within four standard errors.
    #[test]
    fn the_entropy_rate_is_that_of_the_text() {
        let grammar = Grammar::english();
        let characters = text(0, TokenKind::Character);
        let test = string(&characters, characters.test.as_ref().unwrap());
        let (mut place, mut sentences) = (0, Vec::new());
        while place < test.len() {
            let parses = grammar.parses(&[Item::Symbol(0)], &test[place..]);
            assert_eq!(parses.len(), 1, "{:?}", &test[place..(place + 80).min(test.len())]);
            let [(length, log)] = parses[..] else { unreachable!() };
            sentences.push((-log, &test[place..place + length]));
            place += length;
        }
        for kind in [TokenKind::Character, TokenKind::Word] {
            let text = text(0, kind);
            let rate = text.entropy_rate.unwrap();
            let sentences: Vec<(f64, f64)> = sentences
                .iter()
                .map(|(nats, sentence)| (*nats, kind.open(&spelt(sentence, kind)).count() as f64))
                .collect();
            let total: f64 = sentences.iter().map(|(nats, _)| nats).sum();
            let length: f64 = sentences.iter().map(|(_, length)| length).sum();
            assert!((length - text.test.unwrap().len() as f64).abs() <= 1.0);
            let measured = total / length;
            // The ratio's standard error, from the scatter over the sentences.
            let scatter: f64 =
                sentences.iter().map(|(nats, length)| (nats - rate * length).powi(2)).sum();
            let error = scatter.sqrt() / length;
            assert!(error < 0.01 * rate, "error {error}");
            assert!((measured - rate).abs() < 4.0 * error, "{measured}, {rate}, error {error}");
        }
    }

    #[test]
    fn words_stand_apart_from_full_stops() {
        let text = text(0, TokenKind::Word);
        let words = string(&text, &text.train);
        assert!(words.starts_with(|first: char| first.is_uppercase()), "{}", &words[..80]);
        assert!(words.contains(" .\n") && words.contains(" . The "), "{}", &words[..200]);
        assert!((100..400).contains(&text.vocabulary.len()), "{}", text.vocabulary.len());
        assert!(!text.vocabulary.tokens().any(|word| word.len() > 1 && word.contains('.')));
    }

    #[test]
    fn the_seed_alone_decides() {
        let kind = crate::data::Kind::Text(TokenKind::Character);
        let dataset = |source| crate::data::load(source, kind, 0.2).unwrap();
        assert_eq!(dataset("generated").fingerprint, "5fdab36637caa4b0");
        assert_ne!(dataset("generated:1").fingerprint, dataset("generated:0").fingerprint);
    }

    #[test]
    fn parts_are_whole_sentences() {
        let text = text(0, TokenKind::Character);
        for part in [&text.train, text.valid.as_ref().unwrap(), text.test.as_ref().unwrap()] {
            let part = string(&text, part);
            assert!(part.ends_with(". ") || part.ends_with(".\n"));
        }
        let lengths = [text.train.len(), text.valid.unwrap().len(), text.test.unwrap().len()];
        assert!(
            lengths.iter().zip(LENGTHS).all(|(&own, least)| own >= least && own < least + 1000)
        );
    }
}
