//! `althing txn`: the syntax is in `txn_syntax.rs`.

use clap::Args;
use serde_json::{Value, json};

use super::connect::Client;
use super::proto::pb::response_op::Response;
use super::put::standard_input;
use super::{show, txn_syntax};
use crate::failure::{Failure, Outcome};
use crate::output::{self, bad, good};

/// `althing txn`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: althing txn 'if value(a) = 1 and exists(b) then put a 2; get b else get a'
Conditions:  value(K) version(K) create(K) mod(K) lease(K) compared by = != < >; exists(K) missing(K)
Operations:  put K V [--lease ID]   get K [END] [--prefix]   del K [END] [--prefix]")]
pub struct TxnArgs {
    /// The transaction [default: read from standard input]
    text: Option<String>,
}

/// Runs a transaction.
///
/// # Errors
/// It cannot be read, the cluster refuses it or does not answer.
pub async fn run(client: &Client, args: &TxnArgs) -> Outcome {
    let text = match &args.text {
        Some(text) => text.clone(),
        None => String::from_utf8_lossy(&standard_input()?).into_owned(),
    };
    let request = txn_syntax::parse(&text).map_err(|why| Failure::new(why).next("althing txn --help"))?;
    let response = client.write(async |channel| Client::kv(channel).txn(request).await).await?;
    let revision = show::revision(response.header.as_ref());
    let answers = response.responses.iter().filter_map(|op| op.response.as_ref());
    if client.json {
        let responses: Vec<_> = answers.map(as_json).collect();
        let succeeded = response.succeeded;
        return output::json(
            &json!({ "revision": revision, "succeeded": succeeded, "responses": responses }),
        );
    }
    output::line(match response.succeeded {
        true => format!("{}, revision {revision}", good("the conditions held")),
        false => format!("{}, revision {revision}", bad("the conditions did not hold")),
    })?;
    answers.map(as_text).try_for_each(|text| output::line(text).map(drop))?;
    Ok(std::process::ExitCode::SUCCESS)
}

fn as_json(answer: &Response) -> Value {
    match answer {
        Response::ResponseRange(range) => json!({ "get": show::range(range) }),
        Response::ResponsePut(put) => json!({ "put": { "prev_kv": put.prev_kv.as_ref().map(show::pair) } }),
        Response::ResponseDeleteRange(del) => json!({ "del": { "deleted": del.deleted } }),
        Response::ResponseTxn(txn) => json!({ "txn": { "succeeded": txn.succeeded } }),
    }
}

fn as_text(answer: &Response) -> String {
    match answer {
        Response::ResponseRange(range) if range.kvs.is_empty() => "get: no keys".to_owned(),
        Response::ResponseRange(range) => format!("get:\n{}", show::pairs(&range.kvs, false)),
        Response::ResponsePut(_) => "put: ok".to_owned(),
        Response::ResponseDeleteRange(del) => format!("del: {}", del.deleted),
        Response::ResponseTxn(txn) => format!("txn: {}", txn.succeeded),
    }
}
