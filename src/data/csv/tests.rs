//! Tests on whole and faulty tables in memory.

use super::*;
use crate::data::{Part, TableOptions};

fn options(target: &str) -> LoadOptions {
    let table = TableOptions { target: Some(target.into()), ..TableOptions::default() };
    LoadOptions { valid_split: 0.0, table, ..LoadOptions::default() }
}

fn with(target: &str, task: TargetKind, missing: Missing) -> LoadOptions {
    let table =
        TableOptions { target: Some(target.into()), task, missing, ..TableOptions::default() };
    LoadOptions { table, ..options(target) }
}

fn read(text: &str, options: &LoadOptions) -> Result<Arrays> {
    parse(text.as_bytes().to_vec(), Path::new("some.csv"), options)
}

fn message(text: &str, options: &LoadOptions) -> String {
    read(text, options).unwrap_err().to_string()
}

fn floats(arrays: &Arrays) -> &[f32] {
    match &arrays.part(Part::Train).unwrap().inputs {
        Inputs::Floats(floats) => floats,
        _ => panic!("no floats"),
    }
}

fn names(arrays: &Arrays) -> Vec<&str> {
    arrays.class_names().unwrap_or_default().iter().map(|name| &**name).collect()
}

#[test]
fn numbers_and_categories_become_inputs() {
    let text = "age,sex,weight,kind\n30,m,70.5,b\n-1e1,f,60,a\n\n40,m,80,b\n";
    let arrays = read(text, &options("kind")).unwrap();
    assert_eq!(
        floats(&arrays),
        [30.0, 0.0, 1.0, 70.5, -10.0, 1.0, 0.0, 60.0, 40.0, 0.0, 1.0, 80.0]
    );
    assert_eq!(arrays.train.targets, Targets::Classes(vec![1, 0, 1]));
    assert_eq!((names(&arrays), arrays.sample), (vec!["a", "b"], Input::Vector { size: 4 }));
    let notes = arrays.table.unwrap().notes();
    let expected = "column 'kind' is predicted from 2 columns of numbers; of categories: 'sex' (2)";
    assert_eq!(notes, [expected]);
}

#[test]
fn a_header_may_be_missing() {
    // Fisher's irises, as the UCI repository has them.
    let text = "5.1,3.5,1.4,0.2,setosa\n7.0,3.2,4.7,1.4,versicolor\n";
    let arrays = read(text, &options("5")).unwrap();
    assert_eq!(floats(&arrays).len(), 8);
    assert!(arrays.table.unwrap().notes()[1].contains("numbered from 1"));
    // Letters, two of them the same.
    assert_eq!(floats(&read("p,x,x\ne,y,x\n", &options("1")).unwrap()).len(), 2 * 3);
    // Texts alone: a name does not occur again in its column, unless it is the one that is asked for.
    let text = "red,small,yes\nblue,tiny,no\nred,large,no\n";
    assert_eq!(read(text, &options("3")).unwrap().train.len(), 3);
    assert_eq!(read(text, &options("yes")).unwrap().train.len(), 2);
    // pandas's names of columns.
    let arrays = read("0,1,2,kind\n5,6,7,a\n8,9,1,b\n", &options("kind")).unwrap();
    assert_eq!(floats(&arrays), [5.0, 6.0, 7.0, 8.0, 9.0, 1.0]);
    // Years.
    let years = "country,2019,2020,grade\nx,1,2,a\ny,3,4,b\n";
    for target in ["grade", "2020"] {
        assert_eq!(read(years, &options(target)).unwrap().train.len(), 2, "{target}");
    }
    // No names: the target's text occurs again, or is a column's number.
    assert!(read("x,2019,a\ny,2020,b\nz,2021,a\n", &options("a")).is_err());
    assert_eq!(read("x,2019,3\ny,2020,4\n", &options("3")).unwrap().train.len(), 2);
    // pandas's index.
    let arrays = read(",x,kind\n0,5,a\n1,6,b\n", &options("kind")).unwrap();
    assert_eq!(floats(&arrays), [5.0, 6.0]);
    assert!(arrays.table.unwrap().notes()[1].contains("left out"));
}

#[test]
fn separators_marks_and_quotation_marks_are_known() {
    for text in
        ["x;kind\n1;a\n2;b\n", "x\tkind\r\n1\ta\r\n2\tb\r\n", "\u{feff}x , kind\n 1, a\n2 ,b"]
    {
        assert_eq!(floats(&read(text, &options("kind")).unwrap()), [1.0, 2.0], "{text:?}");
    }
    let text = "x,\"the kind; of \"\"it\"\"\"\n1,\"a,b\"\n2,c\n";
    let arrays = read(text, &options("the kind; of \"it\"")).unwrap();
    assert_eq!(names(&arrays), ["a,b", "c"]);
}

#[test]
fn whole_numbers_are_classes_if_they_are_few() {
    let column = |target: &dyn Fn(usize) -> String| {
        (0..60).fold("x,y\n".to_owned(), |text, row| text + &format!("{row},{}\n", target(row)))
    };
    let few = column(&|row| (3 + row % 3).to_string());
    let arrays = read(&few, &options("y")).unwrap();
    assert_eq!(names(&arrays), ["3", "4", "5"]);
    assert_eq!(arrays.task, Task::Classification { classes: 3 });
    let numbers = with("y", TargetKind::Regression, Missing::Refuse);
    assert_eq!(read(&few, &numbers).unwrap().task, Task::Regression { outputs: 1 });
    // pandas writes whole numbers so in a column that had a missing value.
    let floats = column(&|row| format!("{}.0", 3 + row % 3));
    assert_eq!(names(&read(&floats, &options("y")).unwrap()), ["3", "4", "5"]);
    for many in [column(&|row| row.to_string()), column(&|row| format!("{}.5", row % 2))] {
        let arrays = read(&many, &options("y")).unwrap();
        assert_eq!(arrays.task, Task::Regression { outputs: 1 });
    }
    let classes = with("y", TargetKind::Classification, Missing::Refuse);
    let many = column(&|row| (row % 30).to_string());
    assert_eq!(read(&many, &classes).unwrap().task, Task::Classification { classes: 30 });
    let error = message(&column(&|row| format!("{row}.5")), &classes);
    assert!(error.starts_with("some.csv: line 2, column 'y': is not a whole number"), "{error}");
    let error = message("x,y\n1,a\n2,b\n", &numbers);
    assert!(error.starts_with("some.csv: line 2, column 'y': \"a\" is not a number"), "{error}");
}

#[test]
fn missing_values_are_refused_or_filled() {
    let text = "a,b,kind\n1,x,k\nNaN,y,l\n3,?,k\n5,y,l\n";
    let error = message(text, &options("kind"));
    assert!(
        error.starts_with("some.csv: line 3, column 'a': \"NaN\" is a missing value"),
        "{error}"
    );
    let arrays = read(text, &with("kind", TargetKind::Auto, Missing::Mean)).unwrap();
    let third = 1.0 / 3.0f64;
    let means =
        [1.0, 1.0, 0.0, 3.0, 0.0, 1.0, 3.0, third as f32, (2.0 * third) as f32, 5.0, 0.0, 1.0];
    assert_eq!(floats(&arrays), means);
    // Those of the training part alone.
    let halves = LoadOptions { valid_split: 0.5, ..with("kind", TargetKind::Auto, Missing::Mean) };
    let arrays = read("a,kind\n1,k\n,k\n3,k\n5,k\n", &halves).unwrap();
    let sum: f32 = floats(&arrays).iter().sum();
    let fill = arrays.table.as_ref().unwrap().fill[0];
    assert_eq!((floats(&arrays).len(), fill), (2, f64::from(sum) / 2.0));
    let error = message("a,kind\n1,k\n2,\n", &halves);
    assert!(error.starts_with("some.csv: line 3, column 'kind': has no value"), "{error}");
    let error = message("a,b,kind\n,1,k\n,2,l\n", &halves);
    assert!(error.contains("column 'a' has no value: `ignore` leaves it out"), "{error}");
}

#[test]
fn faulty_tables_are_named_by_line_and_column() {
    let many = (0..40).fold("x,y\n".to_owned(), |text, row| text + &format!("{row},{}\n", row % 2));
    for (text, expected) in [
        ("x,kind\n1,a\n2\n", "line 3 has 1 column, the first line 2"),
        ("x,kind\n\n\n1,a\n\n2,b,c\n", "line 6 has 3 columns, the first line 2"),
        ("x,kind\ninf,a\n2,b\n", "line 2, column 'x': inf is not a finite number"),
        ("x,kind\n1e400,a\n2,b\n", "line 2, column 'x': 1e400 is too large for 32 bits"),
        (
            "x,kind\n1,a\n2,\"b\n3,a\n4,b\n",
            "line 3, column 2: the quotation mark that opens here is never closed",
        ),
        ("x,kind\n1e39,a\n2,b\n", "line 2, column 'x': 1e39 is too large for 32 bits"),
        ("x,kind\n", "has no lines of data"),
        ("kind\na\nb\n", "has no column besides the one to predict"),
        ("", "is empty"),
        ("\n\n", "has no lines"),
    ] {
        let error = message(text, &options(if text.contains("kind") { "kind" } else { "y" }));
        assert!(error.starts_with(&format!("some.csv: {expected}")), "{error}");
    }
    let error = message(&many.replace("\n17,", "\n1O,"), &options("y"));
    let expected = "some.csv: line 19, column 'x': \"1O\" is not a number, as 39 other cells";
    assert!(error.starts_with(expected), "{error}");
    let texts = many.trim_end().replace("\n", "\nrow");
    let error = message(&texts, &options("y"));
    assert!(error.contains("different texts in 4"), "{error}");
    let names =
        "x,y\n".to_owned() + &(0..30).map(|row| format!("{row},n{row}\n")).collect::<String>();
    let error = message(&names, &options("y"));
    assert!(error.contains("30 different texts in 30 lines: too many for classes"), "{error}");
    let asked = with("y", TargetKind::Classification, Missing::Refuse);
    assert_eq!(read(&names, &asked).unwrap().task, Task::Classification { classes: 30 });
    let error = message(&many.replace(',', ";").replace("\n17;", "\n1,7;"), &options("y"));
    assert!(error.contains("a decimal point, not a comma"), "{error}");
    let error = message(&many, &options("z"));
    assert_eq!(error, "`target`: 'z' is no column of some.csv; it has: 'x', 'y'");
    for (first, why) in [
        ("a,a,y", "'a' is there twice: rename one"),
        ("a,1,2", "'1' is a number"),
        ("a,b,3", "'3' is a number"),
        ("a,b,c", "'b' occurs again in its column"),
    ] {
        let error = message(&format!("{first}\n1,b,2\n"), &options("z"));
        assert!(error.ends_with(&format!("not taken for names, since {why}")), "{error}");
    }
    let error = message(&many, &LoadOptions::default());
    assert_eq!(error, "`target`: names the column to predict; some.csv has: 'x', 'y'");
    let error = parse(b"x,kind\n1,caf\xe9\n".to_vec(), Path::new("some.csv"), &options("kind"));
    assert!(error.unwrap_err().to_string().contains("is not UTF-8"));
}

#[test]
fn a_model_takes_its_own_columns_only() {
    let text = "a,b,kind\n1,x,k\n2,y,l\n";
    let table = read(text, &options("kind")).unwrap().table.map(Arc::unwrap_or_clone);
    let known = LoadOptions {
        table: TableOptions { known: table, ..TableOptions::default() },
        ..options("kind")
    };
    let arrays = read("kind,b,a\nl,y,7\n", &known).unwrap();
    assert_eq!(floats(&arrays), [7.0, 0.0, 1.0]);
    let error = message("a,b,kind\n1,z,k\n", &known);
    let expected =
        "some.csv: line 2, column 'b': \"z\" is none of the model's categories: 'x', 'y'";
    assert_eq!(error, expected);
    for other in ["a,c,kind\n1,x,k\n", "a,b,c,kind\n1,x,1,k\n", "a,kind\n1,k\n"] {
        let error = message(other, &known);
        assert!(
            error.contains(
                "; the model takes 'a', 'b'; 'kind', which it predicts, may be there too"
            ),
            "{error}"
        );
    }
    let error = message("a,b\n1,x\n", &known);
    assert!(error.contains("has no column 'kind', which the model predicts"), "{error}");
}

fn ignoring(target: &str, names: &[&str]) -> LoadOptions {
    let ignore = names.iter().map(|name| (*name).to_owned()).collect();
    let table = TableOptions { ignore, ..options(target).table };
    LoadOptions { table, ..options(target) }
}

#[test]
fn ignored_columns_are_no_inputs() {
    // The first would be refused as too many texts, the last since it has no value.
    let lines: String = (0..60).map(|row| format!("n{row},{row},{},\n", row % 2)).collect();
    let text = format!("\"name, first\",a,kind,gap\n{lines}");
    let arrays = read(&text, &ignoring("kind", &["name, first", "4"])).unwrap();
    assert_eq!(arrays.sample, Input::Vector { size: 1 });
    let table = arrays.table.map(Arc::unwrap_or_clone).unwrap();
    assert_eq!(table.ignored, ["name, first", "gap"]);
    assert!(table.notes()[1].ends_with("`ignore`: 'name, first', 'gap'"), "{:?}", table.notes());
    // A trained model takes data with and without them, and refuses others still.
    let known = LoadOptions {
        table: TableOptions { known: Some(table), ..TableOptions::default() },
        ..options("kind")
    };
    for (text, first) in [
        ("a,kind\n7,1\n", 7.0),
        ("gap,kind,a,\"name, first\"\nx,1,8,y\n", 8.0),
        ("gap,gap,kind,a\nx,y,1,9\n", 9.0),
    ] {
        assert_eq!(floats(&read(text, &known).unwrap()), [first], "{text}");
    }
    let error = message("a,kind,other\n7,1,2\n", &known);
    assert!(error.contains("the column 'other', which the model does not take"), "{error}");
    assert!(error.ends_with("and 'name, first', 'gap', which it ignores"), "{error}");
    for (names, expected) in [
        (
            &["b"][..],
            "`ignore`: 'b' is no column of some.csv; it has: 'name, first', 'a', 'kind', 'gap'",
        ),
        (&["5"], "`ignore`: '5' is no column"),
        (&["kind"], "`ignore`: 'kind' is the column to predict"),
        (&["3"], "`ignore`: '3' is the column to predict"),
        (&["1", "2", "4"], "some.csv: has no column besides the one to predict and those that"),
    ] {
        let error = message(&text, &ignoring("kind", names));
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn ignored_columns_without_names_are_told_by_their_places() {
    let table = read("9,1,2,k\n8,3,4,l\n", &ignoring("4", &["1"])).unwrap().table.unwrap();
    let own = |text: &str| inputs(text.as_bytes().to_vec(), Path::new("new.csv"), &table);
    assert_eq!(own("7,5,6,k\n").unwrap(), [5.0, 6.0]);
    assert_eq!(own("5,6\n").unwrap(), [5.0, 6.0]);
    // Either the ignored column or the predicted one is missing.
    let error = own("5,6,k\n").unwrap_err().to_string();
    assert!(error.contains("has 3 columns without names; the model takes 4"), "{error}");
}

#[test]
fn no_bytes_are_a_panic() {
    let whole = "\u{feff},x;y,kind\r\n0,1.5,\"a\"\"b\",2\r\n1,,NA,3\n\n2,-1e3,c,2\n".as_bytes();
    let options = with("kind", TargetKind::Auto, Missing::Mean);
    for place in 0..whole.len() {
        for byte in [b',', b';', b'"', b'\n', b'7', b'x', 0, 0xFF] {
            let mut bytes = whole.to_vec();
            bytes[place] = byte;
            for bytes in [&bytes[..], &bytes[..place], &bytes[place..]] {
                if let Ok(arrays) = parse(bytes.to_vec(), Path::new("some.csv"), &options) {
                    assert!(floats(&arrays).iter().all(|float| float.is_finite()));
                }
            }
        }
    }
}

#[test]
fn numbers_with_a_decimal_comma_are_no_categories() {
    let text = |number: &str| {
        let row = |row: usize| format!("{};{number},{};{row}.5\n", row % 3, row % 4);
        format!("a;b;y\n{}", (0..30).map(row).collect::<String>())
    };
    for target in ["y", "b"] {
        let expected = "some.csv: line 2, column 'b': \"1,0\" is not a number: numbers have a decimal point, not a comma";
        assert_eq!(message(&text("1"), &options(target)), expected);
        assert!(read(&text("x"), &options(target)).is_ok());
    }
}

#[test]
fn names_in_another_form_of_unicode_are_told_of() {
    let of = |name: &str| message("e\u{301}te\u{301};m\n1;2\n2;3\n", &options(name));
    assert!(of("\u{e9}t\u{e9}").contains("different forms of Unicode"));
    assert!(!of("mass").contains("Unicode"));
}

#[test]
fn numbers_that_32_bits_round_away_are_told_of() {
    let notes = |start: f64| {
        let row = |row: u32| format!("{:.4},{row}.5\n", start + 0.01 * f64::from(row));
        let text = format!("date,y\n{}", (0..60).map(row).collect::<String>());
        let file = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
        std::fs::write(file.path(), text).unwrap();
        let source = file.path().display().to_string();
        let data = crate::data::load_with(&source, crate::data::Kind::Arrays, &options("y"));
        data.unwrap().notes()
    };
    let told = notes(2_459_000.5).into_iter().find(|note| note.contains("32 bits round"));
    let told = told.unwrap();
    assert!(told.starts_with("column 'date' has numbers of 2.459"), "{told}");
    assert!(!notes(2000.0).iter().any(|note| note.contains("32 bits round")));
}
