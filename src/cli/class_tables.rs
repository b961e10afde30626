//! The tables of an evaluation: precision and recall of each class, and the confusion matrix.

use super::messages::percent;
use alrao::supervised::{ClassMeasure, ClassMeasures};

/// With more classes, no table of classes is shown.
const MOST_CLASSES: usize = 50;

/// With more classes, no matrix is shown.
const MOST_IN_MATRIX: usize = 12;

/// The most letters of a name at a line's beginning, and above a column where the whole names do not fit.
const LETTERS: [usize; 2] = [24, 8];

/// The columns of a terminal.
const COLUMNS: usize = 80;

/// The tables, each after an empty line.
pub(super) fn tables(measures: &ClassMeasures) -> String {
    let classes = &measures.classes;
    if classes.len() > MOST_CLASSES {
        return format!(
            "\n{} classes are too many for a table; --json has precision and recall of each\n",
            classes.len()
        );
    }
    let mut text = of_classes(classes);
    match &measures.confusion {
        Some(matrix) if classes.len() <= MOST_IN_MATRIX => text += &confusion(classes, matrix),
        _ => {
            text +=
                "\nthe confusion matrix has too many classes for a table; --confusion draws it\n"
        }
    }
    text
}

fn of_classes(classes: &[ClassMeasure]) -> String {
    let share = |own: Option<f64>| own.map_or_else(|| "-".into(), percent);
    let row = |own: &ClassMeasure| {
        let counts = [own.samples, own.predicted].map(|count| count.to_string());
        let shares = [own.precision, own.recall].map(share);
        [vec![shortened(&own.class, LETTERS[0])], counts.into(), shares.into()].concat()
    };
    let header = ["class", "samples", "predicted", "precision", "recall"].map(String::from);
    table(&[vec![header.to_vec()], classes.iter().map(row).collect()].concat(), &[0])
}

fn confusion(classes: &[ClassMeasure], matrix: &[Vec<u64>]) -> String {
    let width = |own: &ClassMeasure| 2 + shortened(&own.class, LETTERS[0]).chars().count();
    let fits = LETTERS[0] + classes.iter().map(width).sum::<usize>() <= COLUMNS;
    let most = LETTERS[usize::from(!fits)];
    let names = classes.iter().map(|own| shortened(&own.class, most));
    let header: Vec<String> = ["true \\ predicted".into()].into_iter().chain(names).collect();
    let row = |(own, counts): (&ClassMeasure, &Vec<u64>)| {
        let name = shortened(&own.class, LETTERS[0]);
        [name].into_iter().chain(counts.iter().map(u64::to_string)).collect()
    };
    table(&[vec![header], classes.iter().zip(matrix).map(row).collect()].concat(), &[0])
}

/// Rows after an empty line, with these columns to the left and the others to the right.
pub(super) fn table(rows: &[Vec<String>], left: &[usize]) -> String {
    let letters = |text: &String| text.chars().count();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| letters(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::from("\n");
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            match left.contains(&column) {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// A name without control characters, and not too long.
fn shortened(name: &str, most: usize) -> String {
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match name.chars().count() > most {
        true => name.chars().take(most - 1).chain(['…']).collect(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures(names: &[&str]) -> ClassMeasures {
        let class = |name: &&str| ClassMeasure {
            class: (*name).into(),
            samples: 10,
            predicted: 0,
            precision: None,
            recall: Some(0.25),
        };
        let matrix = vec![vec![3; names.len()]; names.len()];
        let classes = names.iter().map(class).collect();
        ClassMeasures { top5_accuracy: None, classes, confusion: Some(matrix) }
    }

    #[test]
    fn classes_stand_in_rows() {
        let text = tables(&measures(&["cat", "Ankle boot"]));
        let expected = "
class       samples  predicted  precision  recall
cat              10          0          -  25.00%
Ankle boot       10          0          -  25.00%

true \\ predicted  cat  Ankle boot
cat                 3           3
Ankle boot          3           3
";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_names_are_cut_where_they_do_not_fit() {
        let names =
            ["a name of many letters", "another name of letters", "a third name of letters"];
        assert!(tables(&measures(&names)).contains("a name …  another…  a third…"));
    }

    #[test]
    fn tables_of_many_classes_are_left_out() {
        let names: Vec<String> = (0..60).map(|class| class.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(tables(&measures(&names)).contains("60 classes are too many"));
        let text = tables(&measures(&names[..20]));
        assert!(text.contains("precision") && text.contains("--confusion draws it"), "{text}");
    }
}
