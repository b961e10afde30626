//! Rows of a table: the sort with one tile and with many, and rare and frequent tokens.

use crate::ops::layers::embedding::embedding;
use crate::random::{Philox, Purpose};
use crate::{Device, Tensor};

use super::elementwise::differentiate;
use super::{Case, drawn};

fn tokens(device: &Device, count: usize, number: impl Fn(u64) -> u64) -> Tensor {
    let mut stream = Philox::new(3, Purpose::Data).stream(0);
    let tokens: Vec<i32> = (0..count).map(|_| number(stream.below(1 << 32)) as i32).collect();
    Tensor::from_slice(device, [count], &tokens)
}

/// `count` tokens of a table; `number` makes each from 32 random bits.
fn case(
    name: &str,
    count: usize,
    [vocabulary, columns]: [usize; 2],
    number: fn(u64, u64) -> u64,
    op: fn(&Tensor, &Tensor) -> Tensor,
) -> Case {
    let name = format!("embedding {name}, {count} of [{vocabulary}, {columns}]");
    Case::new(name, count + 1, move |device, dtype| {
        let tokens = tokens(device, count, |bits| number(bits, vocabulary as u64));
        let table = drawn(device, &[vocabulary, columns], dtype, 1);
        differentiate(&[table], |x| op(&tokens, &x[0]))
    })
}

pub fn cases() -> Vec<Case> {
    let uniform = |bits: u64, vocabulary: u64| bits % vocabulary;
    // Half of all tokens are the last one.
    let skewed = |bits: u64, vocabulary: u64| match bits & 1 {
        1 => vocabulary - 1,
        _ => (bits >> 1) % vocabulary,
    };
    let same = |_: u64, _: u64| 1;
    let last = |_: u64, vocabulary: u64| vocabulary - 1;
    let plain = |tokens: &Tensor, table: &Tensor| embedding(tokens, table);
    let twice = |tokens: &Tensor, table: &Tensor| {
        embedding(tokens, table).mul(&embedding(tokens, table).square())
    };
    let cases = vec![
        case("one token", 1, [3, 4], last, plain),
        case("none", 0, [3, 4], same, plain),
        case("one row", 70, [1, 5], uniform, plain),
        case("uniform", 31, [50, 3], uniform, plain),
        case("uniform", 257, [256, 12], uniform, plain),
        case("a window", 1400, [300, 20], skewed, plain),
        case("rare", 700, [70_001, 4], uniform, plain),
        case("a full tile", 2048, [50, 4], skewed, plain),
        case("a tile and one", 2049, [50, 4], skewed, plain),
        case("tiles, one digit", 6000, [200, 4], uniform, plain),
        case("tiles, two digits", 5001, [1000, 5], skewed, plain),
        case("tiles, three digits", 4500, [70_001, 1], skewed, plain),
        case("tiles of one token", 4200, [3, 4], same, plain),
        case("tiles of one row", 4200, [1, 4], uniform, plain),
        case("wide rows", 65, [7, 132], uniform, plain),
        case("wide odd rows", 65, [7, 35], uniform, plain),
        case("a slice of its output", 90, [9, 12], skewed, |tokens, table| {
            embedding(tokens, table).slice(1, 3, 6).square()
        }),
        case("of a slice", 90, [9, 12], skewed, |tokens, table| {
            embedding(tokens, &table.slice(1, 4, 4)).square()
        }),
        case("twice", 90, [9, 8], skewed, twice),
        case("in windows", 90, [9, 8], skewed, |tokens, table| {
            embedding(&tokens.reshape([9, 10]), table)
        }),
        case("rows of the usual 100", 65, [7, 100], uniform, plain),
        // Tokens whose runs start and end in all places of a chunk, in rows of every width.
        case("short runs", 601, [30, 8], uniform, twice),
        case("short runs", 602, [30, 12], uniform, twice),
        case("short runs", 603, [30, 5], uniform, twice),
        case("rows of 16 bytes", 300, [7, 24], skewed, plain),
    ];
    // Some cases have a square or a product, and the gradient of their sum passes through another op.
    cases.into_iter().flat_map(|case| case.and_in_bf16(4)).collect()
}
