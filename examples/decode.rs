//! Measures how many images per second are decoded from a folder, to compare with `benches/peers/decode.py`.
//!
//! `cargo run --release --example decode -- DIR SIZE THREADS`

use std::sync::Arc;
use std::time::Instant;

use alrao::Result;
use alrao::data::{Content, Kind, LoadOptions, Loader, load_with};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, size, threads] = &arguments[..] else {
        println!("decode DIR SIZE THREADS");
        return Ok(());
    };
    let options = LoadOptions {
        valid_split: 0.0,
        image_size: size.parse().unwrap_or(224),
        threads: threads.parse().ok(),
        ..LoadOptions::default()
    };
    let began = Instant::now();
    let dataset = load_with(folder, Kind::Arrays, &options)?;
    println!("looked at in {:.2} s", began.elapsed().as_secs_f64());
    let Content::Arrays(arrays) = &dataset.content else { return Ok(()) };
    let began = Instant::now();
    let images: usize =
        Loader::new(Arc::clone(&arrays.train), None, 32, 0).map(|batch| batch.len()).sum();
    let seconds = began.elapsed().as_secs_f64();
    println!("{images} images in {seconds:.2} s: {:.0} a second", images as f64 / seconds);
    Ok(())
}
