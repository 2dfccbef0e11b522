//! What the fuzz targets reach of a server's settings: each function panics if a claim does not hold.

use std::collections::BTreeMap;

use clap::{Args, Command, FromArgMatches};

use super::args::{ServeArgs, with_two_dashes};
use super::config::Config;
use super::file;
use super::settings::Settings;
use super::url::Url;
use crate::failure::Failure;

/// A configuration file's settings make a configuration or are refused.
///
/// # Panics
/// As said.
pub fn config_file(text: &str) {
    let Ok(in_file) = file::parse(text) else { return };
    check(Settings::merge(&BTreeMap::new(), &BTreeMap::new(), &in_file, "f.yaml"));
}

/// Flags and variables make a configuration or are refused. A line is an argument, or if it begins with `ETCD_` and
/// has an `=`, a variable.
///
/// # Panics
/// As said.
pub fn flags(text: &str) {
    let (variables, arguments): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("ETCD_") && line.contains('='));
    let variables = variables.iter().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let words = ["althing", "serve"].into_iter().chain(arguments).map(str::to_owned);
    let command = ServeArgs::augment_args(Command::new("serve"));
    let Ok(matches) = command.try_get_matches_from(with_two_dashes(words).into_iter().skip(1)) else {
        return;
    };
    let Ok(args) = ServeArgs::from_arg_matches(&matches) else { return };
    check(Settings::merge(&args.given, &variables, &BTreeMap::new(), ""));
}

/// URLs are written as they mean, and mean the same when read again.
///
/// # Panics
/// As said.
pub fn urls(text: &str) {
    let Ok(urls) = Url::parse_list(text, "--x") else { return };
    let written: Vec<_> = urls.iter().map(Url::to_string).collect();
    let again = Url::parse_list(&written.join(","), "--x");
    assert_eq!(again.ok(), Some(urls));
}

fn check(settings: Result<Settings, Failure>) {
    let Ok(config) = settings.and_then(|settings| Config::from_settings(&settings)) else { return };
    assert!(config.members.contains_key(&config.name));
    assert!(config.members.values().all(|urls| !urls.is_empty()));
    assert!(!config.listen_client.is_empty() && !config.listen_peer.is_empty());
    assert!(config.heartbeat < config.election_timeout);
}
