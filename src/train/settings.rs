//! stub
#![allow(missing_docs)]
use super::RunConfig;
use crate::error::*;
use std::path::Path;
#[derive(Default)]
pub struct Settings {
    pub data_fingerprint: Option<String>,
}
impl Settings {
    pub fn from_toml(_: &str, _: &Path) -> Result<Settings> {
        Ok(Settings::default())
    }
    pub fn resolve(&self) -> Result<RunConfig> {
        Err(Error::input("x", "y"))
    }
    pub fn to_toml(&self) -> String {
        String::new()
    }
}
impl From<&RunConfig> for Settings {
    fn from(_: &RunConfig) -> Self {
        Settings::default()
    }
}
