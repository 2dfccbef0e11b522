//! The command line of `serve`, made from the table of flags.
//!
//! Go programs take `-name` for `--name`; scripts for etcd use it, so it is taken here too
//! ([`with_two_dashes`]).

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::flags::{self, FLAGS, Flag, Support};

/// What was given on the command line.
#[derive(Clone, Debug)]
pub struct ServeArgs {
    /// Flag name to value.
    pub given: BTreeMap<&'static str, String>,
    /// `--config-file`.
    pub config_file: Option<String>,
    /// Whether the server stops when its standard input ends: how `dev` makes sure that none outlives it.
    pub stop_with_stdin: bool,
}

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let command = command
            .arg(
                Arg::new("config-file")
                    .long("config-file")
                    .value_name("FILE")
                    .help("YAML or JSON with the flags' names as keys [env: ETCD_CONFIG_FILE]"),
            )
            .arg(
                Arg::new("stop-with-stdin")
                    .long("stop-with-stdin")
                    .action(ArgAction::SetTrue)
                    .help("Stop when standard input ends, as when the process that started it dies"),
            );
        FLAGS.iter().fold(command, |command, flag| command.arg(argument(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ServeArgs, clap::Error> {
        let value = |name: &str| matches.get_one::<String>(name).cloned();
        Ok(ServeArgs {
            given: FLAGS.iter().filter_map(|flag| Some((flag.name, value(flag.name)?))).collect(),
            config_file: value("config-file"),
            stop_with_stdin: matches.get_flag("stop-with-stdin"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ServeArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(flag: &'static Flag) -> Arg {
    let argument = Arg::new(flag.name).long(flag.name).allow_hyphen_values(true);
    let argument = match flag.switch {
        true => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        false => argument,
    };
    match flag.support {
        Support::Offered { default: "", help } => {
            argument.help(format!("{help} [env: {}]", flags::variable(flag.name)))
        }
        Support::Offered { default, help } => {
            argument.help(format!("{help} [default: {default}] [env: {}]", flags::variable(flag.name)))
        }
        Support::Harmless(_) | Support::DefaultOnly { .. } => argument.hide(true),
    }
}

/// Rewrites `serve -name x` to `serve --name x`. Other commands keep their one-letter flags.
pub fn with_two_dashes(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut arguments: Vec<String> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|command| command == "serve") {
        for argument in &mut arguments[2..] {
            let name = argument.split('=').next().unwrap_or_default().strip_prefix('-').unwrap_or_default();
            if name == "config-file" || flags::find(name).is_some() {
                argument.insert(0, '-');
            }
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> ServeArgs {
        let all = ["althing", "serve"].iter().chain(arguments).map(|text| (*text).to_owned());
        let command = ServeArgs::augment_args(Command::new("serve"));
        let matches = command.try_get_matches_from(with_two_dashes(all).into_iter().skip(1)).unwrap();
        ServeArgs::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn flags_are_read_in_every_spelling_that_go_reads() {
        let args = parse(&["-name", "a", "-data-dir=/d", "--pre-vote", "--strict-reconfig-check=false"]);
        assert_eq!(args.given["name"], "a");
        assert_eq!(args.given["data-dir"], "/d");
        assert_eq!(args.given["pre-vote"], "true");
        assert_eq!(args.given["strict-reconfig-check"], "false");
    }

    #[test]
    fn a_negative_number_is_a_value() {
        assert_eq!(parse(&["--quota-backend-bytes", "-1"]).given["quota-backend-bytes"], "-1");
    }

    #[test]
    fn other_commands_keep_their_short_flags() {
        let get = ["althing", "get", "-name"].map(str::to_owned);
        assert_eq!(with_two_dashes(get.clone()), get);
    }
}
