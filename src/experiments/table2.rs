//! Table 2: parameters without and with Alrao.

use serde_json::{Map, Value, json};

use super::Study;
use super::findings::{Findings, Table};
use crate::error::Result;
use crate::models::Architecture::{self, CharLstm, GoogLeNet, MobileNetV2, Vgg19, WordLstm};
use crate::models::{Input, build};
use crate::nn::Init;
use crate::supervised::settings::Settings;

/// A model, its input, its number of classes, and the paper's millions of parameters without and with Alrao.
struct Row {
    name: &'static str,
    architecture: Architecture,
    input: Input,
    classes: usize,
    paper: [&'static str; 2],
}

const IMAGE: Input = Input::Image { height: 32, width: 32, channels: 3 };

const ROWS: &[Row] = &[
    Row {
        name: "GoogLeNet",
        architecture: GoogLeNet,
        input: IMAGE,
        classes: 10,
        paper: ["6.166", "6.258"],
    },
    Row {
        name: "VGG",
        architecture: Vgg19,
        input: IMAGE,
        classes: 10,
        paper: ["20.041", "20.087"],
    },
    Row {
        name: "MobileNet",
        architecture: MobileNetV2,
        input: IMAGE,
        classes: 10,
        paper: ["2.297", "2.412"],
    },
    Row {
        name: "LSTM (C)",
        architecture: CharLstm,
        input: Input::Tokens { vocabulary: 50 },
        classes: 50,
        paper: ["0.172", "0.197"],
    },
    Row {
        name: "LSTM (W)",
        architecture: WordLstm,
        input: Input::Tokens { vocabulary: 9_999 },
        classes: 9_999,
        paper: ["2.171", "7.221"],
    },
];

pub(super) fn study() -> Study {
    Study::Immediate(Box::new(|_| findings().map(Some)))
}

/// Parameters with one classifier and with all classifiers, and the number of classifiers.
fn count(row: &Row) -> Result<(u128, u128, usize)> {
    let mut settings = Settings::default();
    settings.task.model = Some(row.architecture);
    let config = settings.resolve()?;
    let model = build(&config.model, row.input, &mut Init::shapes_only())?;
    let copies = config.alrao.classifiers;
    Ok((model.parameters(1, row.classes), model.parameters(copies, row.classes), copies))
}

fn findings() -> Result<Findings> {
    let mut table = Table::new(
        "Parameters in millions.",
        &["", "without Alrao", "with Alrao", "classifiers", "exactly", "exactly, with Alrao"],
    );
    let mut values = Map::new();
    let mut different = Vec::new();
    for row in ROWS {
        let (one, all, copies) = count(row)?;
        let millions = [one, all].map(|parameters| format!("{:.3}", parameters as f64 / 1e6));
        if millions != row.paper {
            different.push(row.name);
        }
        let [without, with] = &millions;
        let own = [row.name.into(), format!("{without}M"), format!("{with}M"), copies.to_string()];
        table.push(own.into_iter().chain([one.to_string(), all.to_string()]));
        let [without, with] = row.paper;
        let blank = || String::from("–");
        let theirs = [format!("{without}M"), format!("{with}M"), blank(), blank(), blank()];
        table.push_papers(row.name, theirs);
        values.insert(
            row.name.into(),
            json!({ "classifiers": copies, "with_alrao": all as u64, "without_alrao": one as u64 }),
        );
    }
    let observation = match different.is_empty() {
        true => "All numbers equal the paper's.".to_owned(),
        false => format!("Numbers that differ from the paper's: {}.", different.join(", ")),
    };
    Ok(Findings {
        title: "Table 2: parameters without and with Alrao".into(),
        paper: "Table 2. Alrao has N copies of the last layer: 10 in convolutional networks, 6 in LSTMs.".into(),
        observations: vec![
            observation,
            "LSTM (C) reads 50 different characters and LSTM (W) 9,999 different words, the numbers that give the paper's \
             counts.".into(),
        ],
        tables: vec![table],
        values: Value::Object(values),
        ..Findings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_papers() {
        let findings = findings().unwrap();
        assert!(findings.observations[0].contains("All numbers"), "{:?}", findings.observations);
        assert_eq!(findings.tables[0].rows.len(), 2 * ROWS.len());
    }
}
