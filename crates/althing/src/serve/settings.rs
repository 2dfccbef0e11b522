//! What was set, and where: flag before environment variable before configuration file before default.
//!
//! Promises:
//! - S1  nothing that was set is ignored in silence: it works, or a warning or a refusal names it;
//! - S2  every refusal names the place where the value was set.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::file;
use super::flags::{self, FLAGS, Flag, Support};
use crate::failure::Failure;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line.
    Flag,
    /// In this environment variable.
    Variable(String),
    /// In this configuration file.
    File(String),
    /// Nowhere.
    Default,
}

/// All settings of a server, each with its source.
#[derive(Debug)]
pub struct Settings {
    values: BTreeMap<&'static str, (String, Source)>,
    /// What was accepted without effect, one sentence each.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Merges the three places. `variables` is the process's environment.
    ///
    /// # Errors
    /// A value that is not offered, a configuration file that cannot be read or has an unknown key.
    pub fn gather(
        given: &BTreeMap<&'static str, String>,
        config_file: Option<&str>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Settings, Failure> {
        let variables: BTreeMap<String, String> =
            variables.into_iter().filter(|(name, _)| name.starts_with("ETCD_")).collect();
        let config_file = config_file.or(variables.get("ETCD_CONFIG_FILE").map(String::as_str));
        let in_file = config_file.map(file::read).transpose()?.unwrap_or_default();
        Settings::merge(given, &variables, &in_file, config_file.unwrap_or_default())
    }

    /// As [`gather`](Settings::gather), with the file already read from `path`.
    pub(super) fn merge(
        given: &BTreeMap<&'static str, String>,
        variables: &BTreeMap<String, String>,
        in_file: &BTreeMap<&'static str, String>,
        path: &str,
    ) -> Result<Settings, Failure> {
        let mut settings = Settings { values: BTreeMap::new(), warnings: Vec::new() };
        settings.warn_about_unknown(variables);
        for flag in FLAGS {
            let variable = flags::variable(flag.name);
            let found = if let Some(value) = given.get(flag.name) {
                Some((value.clone(), Source::Flag))
            } else if let Some(value) = variables.get(&variable) {
                Some((value.clone(), Source::Variable(variable)))
            } else {
                in_file.get(flag.name).map(|value| (value.clone(), Source::File(path.to_owned())))
            };
            settings.take(flag, found)?;
        }
        Ok(settings)
    }

    /// The value of an offered flag, or its default.
    pub fn text(&self, name: &'static str) -> &str {
        self.values.get(name).map_or("", |(value, _)| value)
    }

    /// The flag's name with its source, as messages quote it.
    pub fn cite(&self, name: &'static str) -> String {
        cite(name, self.values.get(name).map_or(&Source::Default, |(_, source)| source))
    }

    /// The value as a number between two bounds.
    ///
    /// # Errors
    /// It is not one.
    pub fn number<T>(&self, name: &'static str, min: T, max: T) -> Result<T, Failure>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let text = self.text(name);
        let wrong = || {
            Failure::new(format_args!("{} is {text:?}, not a number from {min} to {max}", self.cite(name)))
                .next(format_args!("althing serve --{name}={}", default_of(name)))
        };
        let number: T = text.parse().map_err(|_| wrong())?;
        if number < min || number > max { Err(wrong()) } else { Ok(number) }
    }

    fn take(&mut self, flag: &'static Flag, found: Option<(String, Source)>) -> Result<(), Failure> {
        match (&flag.support, found) {
            (Support::Offered { default, .. }, None) => {
                self.values.insert(flag.name, ((*default).to_owned(), Source::Default));
            }
            (Support::Offered { .. }, Some(found)) => {
                self.values.insert(flag.name, found);
            }
            (Support::Harmless(why), Some((_, source))) => {
                self.warnings.push(format!("{} has no effect: {why}", cite(flag.name, &source)));
            }
            (Support::DefaultOnly { accepted, instead }, Some((value, source))) => {
                if !accepted.split('|').any(|accepted| accepted == value) {
                    let what = format!("{}={value} is not offered", cite(flag.name, &source));
                    return Err(Failure::new(what).next(instead));
                }
            }
            (_, None) => {}
        }
        Ok(())
    }

    fn warn_about_unknown(&mut self, variables: &BTreeMap<String, String>) {
        for name in variables.keys() {
            let known = FLAGS.iter().any(|flag| flags::variable(flag.name) == *name);
            if !known && name != "ETCD_CONFIG_FILE" {
                self.warnings.push(format!("the environment variable {name} names no flag"));
            }
        }
    }
}

fn cite(name: &str, source: &Source) -> String {
    match source {
        Source::Flag | Source::Default => format!("--{name}"),
        Source::Variable(variable) => format!("{variable} (--{name})"),
        Source::File(path) => format!("{name} in {path}"),
    }
}

fn default_of(name: &str) -> &'static str {
    match flags::find(name).map(|flag| &flag.support) {
        Some(Support::Offered { default, .. }) => default,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(flags: &[(&'static str, &str)], variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        let flags = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::gather(&flags, None, variables)
    }

    #[test]
    fn a_flag_wins_over_its_variable() {
        let settings = gather(&[("name", "a")], &[("ETCD_NAME", "b")]).unwrap();
        assert_eq!(settings.text("name"), "a");
        assert_eq!(settings.cite("name"), "--name");
    }

    #[test]
    fn a_variable_wins_over_the_file_and_the_file_over_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.yml");
        std::fs::write(&path, "name: from-file\nelection-timeout: 2000\n").unwrap();
        let path = path.to_str().unwrap();
        let variables = [("ETCD_NAME".to_owned(), "from-env".to_owned())];
        let settings = Settings::gather(&BTreeMap::new(), Some(path), variables).unwrap();
        assert_eq!(settings.text("name"), "from-env");
        assert_eq!(settings.number("election-timeout", 1, 50_000).unwrap(), 2000);
        assert_eq!(settings.text("heartbeat-interval"), "100");
        assert!(settings.cite("election-timeout").contains("etcd.yml"));
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name_with_an_advice() {
        let failure = gather(&[], &[("ETCD_CERT_FILE", "/tls/crt")]).unwrap_err().to_string();
        assert!(failure.contains("ETCD_CERT_FILE (--cert-file)=/tls/crt is not offered"), "{failure}");
        assert!(failure.contains("http://"), "{failure}");
    }

    #[test]
    fn the_default_of_an_absent_feature_is_accepted() {
        assert!(gather(&[("pre-vote", "true"), ("auth-token", "simple")], &[]).unwrap().warnings.is_empty());
        assert!(gather(&[("pre-vote", "false")], &[]).is_err());
    }

    #[test]
    fn what_has_no_effect_is_warned_about() {
        let settings = gather(&[("logger", "zap")], &[("ETCD_TYPO", "1")]).unwrap();
        assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
    }

    #[test]
    fn a_number_out_of_bounds_is_named_with_its_bounds() {
        let failure = gather(&[("election-timeout", "1s")], &[]).unwrap();
        let failure = failure.number("election-timeout", 10, 50_000).unwrap_err().to_string();
        assert!(failure.contains("--election-timeout is \"1s\", not a number from 10 to 50000"), "{failure}");
    }
}
