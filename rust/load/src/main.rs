//! Receives a command line · hands it to a scenario and prints the report as one line of JSON · owns nothing.

use std::env;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use streamconductor_load::arguments::Arguments;
use streamconductor_load::conformance::{self, Conformance};
use streamconductor_load::failure::Failure;
use streamconductor_load::plan::{Plan, ScenarioName};
use streamconductor_load::run::Run;
use streamconductor_load::soak::{self, Soak};

const USAGE: &str = "\
usage: streamconductor-load echo   --port PORT [--path /echo] [--connections 100] [...]
       streamconductor-load fanout --port PORT [--path /fanout] [--control-path /control]
                                   [--connections 1000] [--in-flight 16] [...]
       streamconductor-load conformance --port PORT [--host HOST] [--agent streamconductor]
       streamconductor-load soak   --control-port PORT --port PORT --pid PID
                                   [--tls-port PORT --tls-certificate FILE] [--connections 2000] [--seconds 600]
                                   [--load 0.5] [--churn 20] [--slope 30] [--seed 1]

  --host HOST        the server's address (127.0.0.1)
  --size BYTES       payload of a message (128)
  --warm-up SECONDS  load before the window (1)
  --seconds SECONDS  the window (5)
  --pid PID          a process of the server, whose processor time is reported; may be repeated";

fn main() -> ExitCode {
    match run() {
        Ok((report, is_good)) => {
            println!("{report}");
            if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure @ Failure::Usage(_)) => {
            eprintln!("{failure}\n{USAGE}");
            ExitCode::from(2)
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// The report, and whether all was well.
fn run() -> Result<(String, bool), Failure> {
    let mut words = env::args().skip(1);
    let scenario = words.next().unwrap_or_default();
    let mut arguments = Arguments::read(words)?;
    let host: String = arguments.take("host", "127.0.0.1".to_owned())?;
    let address = resolve(&host, arguments.take("port", 8000)?)?;
    if scenario == "conformance" {
        let agent = arguments.take("agent", "streamconductor".to_owned())?;
        arguments.finish()?;
        return Ok((json(&conformance::run(&Conformance { address, agent })?)?, true));
    }
    if scenario == "soak" {
        let report = soak::run(&soak(&host, address, arguments)?)?;
        return Ok((json(&report)?, report.is_flawless()));
    }
    let plan = plan(&scenario, address, arguments)?;
    let report = Run::start(plan)?.report().map_err(|failure| Failure::Silence(failure.to_string()))?;
    if let Some(text) = report.faults.texts.first() {
        return Err(Failure::Silence(format!("{} errors; the first: {text}", report.errors)));
    }
    Ok((json(&*report)?, report.errors == 0))
}

fn plan(scenario: &str, address: SocketAddr, mut arguments: Arguments) -> Result<Plan, Failure> {
    let (scenario, path) = match scenario {
        "echo" => (ScenarioName::Echo, "/echo"),
        "fanout" => (ScenarioName::Fanout, "/fanout"),
        other => return Err(Failure::Usage(format!("{other:?} is no scenario"))),
    };
    let path: String = arguments.take("path", path.to_owned())?;
    let mut plan = Plan { scenario, url: format!("ws://{address}{path}"), ..Plan::default() };
    plan.connections = Some(arguments.take("connections", plan.connections())?);
    plan.size = arguments.take("size", plan.size)?;
    plan.warm_up = arguments.take("warm-up", plan.warm_up)?;
    plan.seconds = arguments.take("seconds", plan.seconds)?;
    plan.pids = arguments.take_all("pid")?;
    if scenario == ScenarioName::Fanout {
        plan.control_path = arguments.take("control-path", plan.control_path)?;
        plan.in_flight = Some(arguments.take("in-flight", 16)?);
    }
    arguments.finish()?;
    Ok(plan)
}

fn soak(host: &str, plain: SocketAddr, mut arguments: Arguments) -> Result<Soak, Failure> {
    let certificates: Vec<String> = arguments.take_all("tls-certificate")?;
    let tls = match (certificates.into_iter().next(), arguments.take("tls-port", 0)?) {
        (None, 0) => None,
        (Some(certificate), port) if port > 0 => Some((resolve(host, port)?, certificate.into())),
        _ => return Err(Failure::Usage("--tls-port and --tls-certificate go together".to_owned())),
    };
    let Some(process) = arguments.take_all("pid")?.pop() else {
        return Err(Failure::Usage("a soak needs --pid, the server's process".to_owned()));
    };
    let soak = Soak {
        control: resolve(host, arguments.take("control-port", 8001)?)?,
        plain,
        tls,
        process,
        connections: arguments.take("connections", 2000)?,
        length: seconds(&mut arguments, "seconds", 600.0)?,
        load: arguments.take("load", 0.5)?,
        churn: arguments.take("churn", 20.0)?,
        slope: arguments.take("slope", 30.0)?,
        seed: arguments.take("seed", 1)?,
    };
    arguments.finish()?;
    Ok(soak)
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let first = (host, port).to_socket_addrs()?.next();
    first.ok_or_else(|| Failure::Usage(format!("{host} has no address")))
}

fn seconds(arguments: &mut Arguments, name: &str, default: f64) -> Result<Duration, Failure> {
    let given = arguments.take(name, default)?;
    Duration::try_from_secs_f64(given).map_err(|_| Failure::Usage(format!("--{name} cannot be {given}")))
}

fn json(report: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(report).map_err(|error| Failure::Io(error.into()))
}
