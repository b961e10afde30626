//! Writes valid inputs of every target to `corpus/TARGET`, from which fuzzing goes on.

use std::fs;
use std::io::Result;
use std::path::Path;

use safetensors::SafeTensors;

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests");

fn main() -> Result<()> {
    for golden in ["images", "formats"] {
        let bytes = fs::read(format!("{TESTS}/golden/{golden}.safetensors"))?;
        let tensors = SafeTensors::deserialize(&bytes).expect("golden values");
        for (name, view) in tensors.iter().filter(|(name, _)| name.starts_with("file.")) {
            put("images", name, view.data())?;
        }
    }
    for name in ["classes", "values"] {
        put("safetensors", name, &fs::read(format!("{TESTS}/fixtures/{name}.safetensors"))?)?;
    }
    for name in ["classes", "middle"] {
        put("resume", name, &fs::read(format!("{TESTS}/fixtures/{name}/last.safetensors"))?)?;
    }
    for name in ["classes", "folder", "images", "middle", "pendulum", "text", "values"] {
        put("toml", name, &fs::read(format!("{TESTS}/fixtures/{name}/config.toml"))?)?;
    }
    let text = "\u{feff}no it was n't black monday,\r\nsaid Zo\u{eb}\n";
    put("text", "utf-8", text.as_bytes())?;
    put("text", "utf-16", &text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())?;
    put("text", "latin-1", b"caf\xe9 au lait")?;
    put("cifar", "two", &[[3; 3073], [9; 3073]].concat())
}

fn put(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}
