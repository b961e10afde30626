//! The machine of a measurement.

use serde::Serialize;

use super::peers::Greeting;
use crate::device::Device;

/// The machine, and the versions of the programs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name, if the system reports it.
    pub processor: String,
    /// The GPU's name.
    pub gpu: Option<String>,
    /// The device that this engine computed on.
    pub device: String,
    /// The device's description.
    pub description: String,
    /// CPU threads that each side used.
    pub threads: usize,
    /// This engine's version and commit.
    pub alrao: &'static str,
    /// Python's version.
    pub python: Option<String>,
    /// PyTorch's version.
    pub torch: Option<String>,
}

impl Machine {
    /// This machine with one of its devices, and the versions from PyTorch's side.
    pub fn of(device: &Device, peers: Option<&Greeting>) -> Machine {
        let description = device.description();
        let gpu = match device.name() {
            "cuda" => description.strip_prefix("cuda: ").map(str::to_owned),
            _ => None,
        };
        Machine {
            processor: processor(),
            gpu,
            device: device.name().to_owned(),
            description,
            threads: threads(device),
            alrao: concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("ALRAO_COMMIT"), ")"),
            python: peers.map(|own| own.python.clone()),
            torch: peers.map(|own| own.torch.clone()),
        }
    }

    /// As one line of text.
    pub fn text(&self) -> String {
        let Machine { processor, description, alrao, .. } = self;
        let torch = self.torch.as_ref().map_or(String::new(), |own| format!(", PyTorch {own}"));
        let python = self.python.as_ref().map_or(String::new(), |own| format!(", Python {own}"));
        // A cpu's description already names its threads.
        let threads = match &self.gpu {
            Some(_) => format!(", {} threads on the host", self.threads),
            None => String::new(),
        };
        format!("{processor}; {description}{threads}; alrao {alrao}{torch}{python}\n")
    }
}

/// CPU threads of a device.
pub fn threads(device: &Device) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    device.host_threads().unwrap_or_else(all)
}

/// The processor's name, or its architecture if the system does not report it.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim());
    name.filter(|name| !name.is_empty()).unwrap_or(std::env::consts::ARCH).to_owned()
}
