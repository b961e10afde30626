//! `alrao runs` and `alrao runs compare`.

use std::fs;

use super::{MLP, ends_with, kill, start, wait_for, write_vectors};

#[test]
fn runs_are_listed_with_their_results_and_states() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [240, 60, 60]);
    let train = |more: &str| ends_with(0, folder, &format!("{MLP} --quiet {more}"));
    train("--epochs 3 --out runs/run-10");
    train("--epochs 1 --optimizer sgd --lr 1e-5 --out runs/run-9");
    fs::create_dir(folder.join("runs/no-run")).unwrap();
    let mut going =
        start(folder, &format!("{MLP} --epochs 100000 --patience 100000 --out runs/run-11"));
    wait_for(&folder.join("runs/run-11"), |metrics| metrics.contains("epoch"));

    let (table, _) = ends_with(0, folder, "runs");
    kill(&mut going);
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    let column = |number: usize| rows.iter().map(|row| row[number]).collect::<Vec<_>>();
    assert_eq!(column(0), ["run", "run-9", "run-10", "run-11"]);
    assert_eq!(column(3), ["method", "sgd", "alrao", "alrao"]);
    assert_eq!(column(4)[1..3], ["1/1", "3/3"]);
    let states: Vec<&str> = rows.iter().map(|row| *row.last().unwrap()).collect();
    assert_eq!(states, ["state", "finished", "finished", "running"]);
    assert!(ends_with(0, folder, "runs").0.lines().last().unwrap().ends_with("stopped"));

    let objects = |arguments: &str| -> Vec<serde_json::Value> {
        let (text, _) = ends_with(0, folder, &format!("runs --json {arguments}"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let of_best = |run: &serde_json::Value| (run["best_epoch"].clone(), run["valid_loss"].clone());
    let whole = of_best(&objects("runs/run-10")[0]);
    let [last, aside] = ["runs/run-10/last.safetensors", "aside"].map(|own| folder.join(own));
    fs::rename(&last, &aside).unwrap();
    assert!(whole.0.is_u64() && of_best(&objects("runs/run-10")[0]) == whole);
    fs::rename(&aside, &last).unwrap();
    let metrics = fs::read_to_string(folder.join("runs/run-10/metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let own = &objects("runs/run-10")[0];
    let best =
        lines.iter().find(|line| line["kind"] == "epoch" && line["epoch"] == own["best_epoch"]);
    assert_eq!(own["valid_accuracy"], best.unwrap()["valid_accuracy"]);
    let test = lines.iter().find(|line| line["kind"] == "test").unwrap();
    assert_eq!([&own["test_accuracy"], &own["test_loss"]], [&test["accuracy"], &test["loss"]]);
    let by_test = objects("--sort test");
    // Alrao is better than steps of 1e-5; the run without a test comes last.
    let names: Vec<&str> = by_test.iter().map(|run| run["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["runs/run-10", "runs/run-9", "runs/run-11"]);
}

#[test]
fn what_a_run_s_name_tells_is_left_out_of_long_lines() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [240, 60, 60]);
    let train = |more: &str| ends_with(0, folder, &format!("{MLP} --quiet --epochs 1 {more}"));
    train("");
    train("--optimizer sgd");
    let (table, _) = ends_with(0, folder, "runs");
    assert!(table.starts_with("run               epochs  best"), "{table}");
    assert!(table.contains("\nmlp-data-sgd-1 "), "{table}");
    assert!(table.lines().all(|line| line.len() <= 80), "{table}");
    // A name that tells less.
    train("--out runs/another");
    let (table, _) = ends_with(0, folder, "runs");
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head[..4], ["run", "model", "data", "method"], "{table}");
}

#[test]
fn runs_are_compared_on_one_page() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [240, 60, 60]);
    let train = |more: &str| ends_with(0, folder, &format!("{MLP} --quiet --epochs 2 {more}"));
    train("--out runs/ours");
    train("--optimizer sgd --lr 0.025 --out runs/theirs");
    let (tables, note) = ends_with(0, folder, "runs compare runs/ours runs/theirs");
    assert!(note.contains("written comparison.html"), "{note}");
    assert!(tables.contains("| optimizer | alrao | sgd |\n"), "{tables}");
    assert!(tables.contains("| lr | – | 0.025 |\n"), "{tables}");
    // Equal settings are left out.
    assert!(!tables.contains("batch_size") && !tables.contains("cannot be compared"), "{tables}");
    let page = fs::read_to_string(folder.join("comparison.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 3, "losses of both parts, accuracy");
    for text in ["<td>sgd</td>", "\nours\n", "\ntheirs\n", "The validation accuracy of each run."] {
        assert!(page.contains(text), "{text}");
    }
    let listed = ends_with(0, folder, "runs runs/ours").0;
    let row: Vec<&str> = listed.lines().last().unwrap().split_whitespace().collect();
    assert!(page.contains(&format!("<td>{}</td><td>{}</td>", row[6], row[7])), "{listed}");

    train("--out runs/again");
    let (tables, _) = ends_with(0, folder, "runs compare runs/ours runs/again -o same.html");
    assert!(tables.contains("The runs have the same settings."), "{tables}");
    assert!(!tables.contains("| setting |"), "{tables}");

    let (_, error) = ends_with(2, folder, "runs compare runs/ours runs/theirs");
    assert!(error.contains("comparison.html: is there already; --force replaces it"), "{error}");
    write_vectors(folder, [240, 60, 60].map(|size| size + 10));
    train("--out runs/other");
    let (tables, _) = ends_with(0, folder, "runs compare runs/ours runs/other --force");
    assert!(tables.contains("cannot be compared"), "{tables}");
    for (runs, message) in [
        ("runs/ours", "2 values required"),
        ("runs/ours runs/none", "runs/none: is not a run"),
        ("runs/ours runs/ours", "runs/ours: is named twice"),
        ("runs/ours ./runs/../runs/ours", "is named twice"),
    ] {
        let (_, error) = ends_with(2, folder, &format!("runs compare {runs} -o new.html"));
        assert!(error.contains(message), "{runs}: {error}");
        assert!(!folder.join("new.html").exists());
    }
}

#[test]
fn a_regression_is_listed_with_its_r2() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let rows = (0..80).map(|row| format!("{},{}.5\n", row % 9, 3 * (row % 9)));
    let table: String = std::iter::once("x,y\n".to_owned()).chain(rows).collect();
    fs::write(folder.join("table.csv"), table).unwrap();
    ends_with(0, folder, "-q train --data table.csv --target y --epochs 3 --out runs/one");
    let metrics = fs::read_to_string(folder.join("runs/one/metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| serde_json::from_str(line).unwrap());
    let epochs: Vec<serde_json::Value> =
        lines.filter(|line: &serde_json::Value| line["kind"] == "epoch").collect();
    let (table, _) = ends_with(0, folder, "runs");
    let row: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
    let best = &epochs[row[5].parse::<usize>().unwrap() - 1];
    let expected = format!("{:.3}", best["valid_r2"].as_f64().unwrap());
    assert_eq!(row[6..8], ["R2", &expected]);
}

#[test]
fn a_damaged_run_is_left_out_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_vectors(folder, [60, 0, 0]);
    ends_with(0, folder, &format!("{MLP} --quiet --epochs 1 --out runs/good"));
    fs::create_dir(folder.join("runs/bad")).unwrap();
    fs::write(folder.join("runs/bad/config.toml"), "model = ").unwrap();
    let (table, notes) = ends_with(0, folder, "runs");
    assert!(table.lines().count() == 2 && table.contains("good"), "{table}");
    assert!(notes.contains("left out: runs/bad/config.toml"), "{notes}");
    let (table, notes) = ends_with(0, folder, "runs runs/bad");
    assert!(table.is_empty() && notes.contains("config.toml"), "{notes}");
    let (_, error) = ends_with(2, folder, "runs nothing-here");
    assert!(error.contains("nothing-here"), "{error}");
}
