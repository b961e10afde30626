//! The examples that take no time. Cargo compiles the others.

#[path = "../examples/gradient_descent.rs"]
mod gradient_descent;

/// It panics if its network does not learn.
#[test]
fn gradient_descent_fits_a_sine() {
    gradient_descent::main();
}

#[allow(dead_code, reason = "its main is for cargo run")]
#[path = "../examples/predict.rs"]
mod predict;

#[test]
fn a_run_is_loaded_and_predicts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let line = |number: usize| {
        let side = if number % 7 > 3 { "right" } else { "left" };
        format!("{},{},{side}\n", number % 7, number % 5)
    };
    let lines: String = (0..70).map(line).collect();
    std::fs::write(folder.join("points.csv"), format!("x,y,side\n{lines}")).unwrap();
    std::fs::write(folder.join("new.csv"), "y,x\n1,6\n4,0\n").unwrap();
    let data = folder.join("points.csv");
    let settings = format!("data = '{}'\ntarget = 'side'\nepochs = 20", data.display());
    let run = crate::own_data::trained(folder, "run", &settings);
    let run = run.to_str().unwrap();
    let lines = predict::lines(run, folder.join("new.csv").to_str().unwrap()).unwrap();
    assert!(
        lines[0].starts_with("row 1: right, ") && lines[1].starts_with("row 2: left, "),
        "{lines:?}"
    );
}
