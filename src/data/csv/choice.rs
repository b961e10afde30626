//! The columns that a user names: the one to predict, and those that are left out.

use super::File;
use crate::data::table::TableOptions;
use crate::data::vocabulary::{FORMS, differs_in_form};
use crate::error::{Error, Result, quoted};

impl File<'_> {
    /// The number of the column to predict.
    pub(super) fn target(&self, options: &TableOptions) -> Result<usize> {
        let names = &self.header.names;
        if let Some(known) = &options.known {
            let place = names.iter().position(|name| *name == known.target);
            return place.ok_or_else(|| {
                self.error(format!(
                    "has no column '{}', which the model predicts; it has: {}",
                    known.target,
                    quoted(names)
                ))
            });
        }
        let Some(target) = &options.target else {
            let message = format!(
                "names the column to predict; {} has: {}",
                self.path.display(),
                quoted(names)
            );
            return Err(Error::field("target", message));
        };
        self.position("target", target)
    }

    /// The numbers of the columns that are left out. A trained model knows its own.
    pub(super) fn ignored(
        &self,
        options: &TableOptions,
        target: Option<usize>,
    ) -> Result<Vec<usize>> {
        if options.known.is_some() {
            return Ok(Vec::new());
        }
        let position = |name: &String| {
            let place = self.position("ignore", name)?;
            if Some(place) == target {
                let message = format!("'{name}' is the column to predict; take it off this list");
                return Err(Error::field("ignore", message));
            }
            Ok(place)
        };
        options.ignore.iter().map(position).collect()
    }

    /// The number of the column with this name, or with this number from 1; `setting` is for messages.
    fn position(&self, setting: &str, name: &str) -> Result<usize> {
        let names = &self.header.names;
        let by_number = || name.parse().ok().and_then(|number: usize| number.checked_sub(1));
        let place = names.iter().position(|own| own == name).or_else(by_number);
        place.filter(|place| *place < names.len()).ok_or_else(|| {
            let why = self.header.why_no_names.as_ref();
            let without_names = why.map_or(String::new(), |why| {
                format!("; its first line was not taken for names, since {why}")
            });
            let differs = differs_in_form(name, names.iter().map(String::as_str));
            let message = format!(
                "'{name}' is no column of {}; it has: {}{without_names}{}",
                self.path.display(),
                quoted(names),
                if differs { FORMS } else { "" }
            );
            Error::field(setting, message)
        })
    }
}
