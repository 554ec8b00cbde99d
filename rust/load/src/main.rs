//! Receives a command line · hands it to a scenario and prints the report as one line of JSON · owns nothing.

use std::env;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use streamconductor_load::arguments::Arguments;
use streamconductor_load::conformance::{self, Conformance};
use streamconductor_load::echo::{self, Echo};
use streamconductor_load::failure::Failure;
use streamconductor_load::fanout::{self, Fanout};
use streamconductor_load::report::Window;

const USAGE: &str = "\
usage: streamconductor-load echo   --port PORT [--path /echo] [--connections 100] [...]
       streamconductor-load fanout --port PORT [--path /fanout] [--control-path /control]
                                   [--connections 1000] [--in-flight 16] [...]
       streamconductor-load conformance --port PORT [--host HOST] [--agent streamconductor]

  --host HOST        the server's address (127.0.0.1)
  --size BYTES       payload of a message (128)
  --warm-up SECONDS  load before the window (1)
  --seconds SECONDS  the window (5)
  --pid PID          a process of the server, whose processor time is reported; may be repeated";

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
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

fn run() -> Result<String, Failure> {
    let mut words = env::args().skip(1);
    let scenario = words.next().unwrap_or_default();
    let mut arguments = Arguments::read(words)?;
    let host: String = arguments.take("host", "127.0.0.1".to_owned())?;
    let address = resolve(&host, arguments.take("port", 8000)?)?;
    if scenario == "conformance" {
        let agent = arguments.take("agent", "streamconductor".to_owned())?;
        arguments.finish()?;
        return json(&conformance::run(&Conformance { address, agent })?);
    }
    let size = arguments.take("size", 128)?;
    let window = Window {
        warm_up: seconds(&mut arguments, "warm-up", 1.0)?,
        length: seconds(&mut arguments, "seconds", 5.0)?,
        processes: arguments.take_all("pid")?,
    };
    let report = match scenario.as_str() {
        "echo" => {
            let path = arguments.take("path", "/echo".to_owned())?;
            let echo = Echo { address, path, connections: arguments.take("connections", 100)?, size };
            arguments.finish()?;
            echo::run(&echo, &window)?
        }
        "fanout" => {
            let fanout = Fanout {
                address,
                path: arguments.take("path", "/fanout".to_owned())?,
                control_path: arguments.take("control-path", "/control".to_owned())?,
                subscribers: arguments.take("connections", 1000)?,
                size,
                in_flight: arguments.take("in-flight", 16)?,
            };
            arguments.finish()?;
            fanout::run(&fanout, &window)?
        }
        other => return Err(Failure::Usage(format!("{other:?} is no scenario"))),
    };
    json(&report)
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Failure> {
    let first = (host, port).to_socket_addrs()?.next();
    first.ok_or_else(|| Failure::Usage(format!("{host} has no address")))
}

fn seconds(arguments: &mut Arguments, name: &str, default: f64) -> Result<Duration, Failure> {
    let given = arguments.take(name, default)?;
    Duration::try_from_secs_f64(given).map_err(|_| Failure::Usage(format!("--{name} cannot be {given}")))
}

fn json(report: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(report).map_err(|error| Failure::Io(error.into()))
}
