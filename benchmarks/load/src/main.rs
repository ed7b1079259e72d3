//! A DNS load generator: as many questions are on their way as the window allows, never more.
//!
//!     question files -> Questions -> load::run (udp, tcp) -> Tally -> one line of JSON
//!
//! Closed loop: an answer makes room for the next question. With --rate the questions go out at equal distances.
//! Every load ends (after a count of queries or a time limit, whichever is first), and only loopback is a target, unless
//! one says that the server elsewhere is one's own.

mod load;
mod process;
mod questions;
mod tcp;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const USAGE: &str = "\
usage: geodns-load --target 127.0.0.1:5301 --workload static|geo|nxdomain|mixed --questions DIR [options]

  --questions DIR  a folder of zone.py: static.txt, geo.txt (name and type a line), ecs.txt (a network a line),
                   zone.txt (the zone's name)
  --pid PID        report the CPU time of this process, its threads and children, per answer
  --count N        queries at most                             [1000000]
  --seconds S      time limit, up to 60                        [2]
  --window N       questions on their way at once              [64]
  --ports N        source ports, of which each has window/ports [8]
  --timeout-ms N   an answer that is later counts as lost      [1000]
  --core N         stay on this core and poll without sleeping [sleep]
  --seed N         of the drawing of questions                 [1]
  --no-edns        static and nxdomain without an OPT record
  --tcp            over TCP: --ports connections, the window shared among them
  --rate N         questions a second, at equal distances; latency counts from when each was due
  --idle N         open N more TCP connections first, which ask once and then idle
  --not-loopback   allow a target that is not this machine; load only servers that are yours
";

const COUNT_MAX: u64 = 20_000_000; // latencies are kept, four octets each
const SECONDS_MAX: f64 = 60.0; // a forgotten generator ends
const RATE_MAX: f64 = 10_000_000.0;
const IDLE_MAX: usize = 20_000; // this side's ports are about 28,000

struct Options {
    target: SocketAddr,
    workload: questions::Workload,
    questions: String,
    pid: Option<u32>,
    core: Option<usize>,
    seed: u64,
    edns: bool,
    idle: usize,
    limits: load::Limits,
}

fn options() -> Result<Options, String> {
    let (mut target, mut workload, mut folder) = (None, None, None);
    let (mut pid, mut core, mut seed, mut edns) = (None, None, 1, true);
    let (mut idle, mut is_anywhere) = (0, false);
    let mut limits = load::Limits {
        count: 1_000_000,
        seconds: 2.0,
        window: 64,
        ports: 8,
        timeout: Duration::from_millis(1000),
        rate: None,
        tcp: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-edns" => edns = false,
            "--tcp" => limits.tcp = true,
            "--not-loopback" => is_anywhere = true,
            _ => {}
        }
        if ["--no-edns", "--tcp", "--not-loopback"].contains(&word.as_str()) {
            continue;
        }
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let wrong = |what: &str| format!("{word}: \"{value}\" is not {what}");
        match word.as_str() {
            "--target" => target = Some(value.parse().map_err(|_| wrong("an address and port"))?),
            "--workload" => workload = Some(questions::Workload::parse(&value).ok_or(wrong("a workload"))?),
            "--questions" => folder = Some(value),
            "--pid" => pid = Some(value.parse().map_err(|_| wrong("a process id"))?),
            "--core" => core = Some(value.parse().map_err(|_| wrong("a core's number"))?),
            "--seed" => seed = value.parse().map_err(|_| wrong("a number"))?,
            "--count" => limits.count = value.parse().map_err(|_| wrong("a count"))?,
            "--seconds" => limits.seconds = value.parse().map_err(|_| wrong("a number of seconds"))?,
            "--idle" => idle = value.parse().map_err(|_| wrong("a count"))?,
            "--rate" => limits.rate = Some(value.parse().map_err(|_| wrong("a number of questions"))?),
            "--window" => limits.window = value.parse().map_err(|_| wrong("a count"))?,
            "--ports" => limits.ports = value.parse().map_err(|_| wrong("a count"))?,
            "--timeout-ms" => {
                limits.timeout = Duration::from_millis(value.parse().map_err(|_| wrong("a number of milliseconds"))?)
            }
            _ => return Err(format!("unknown option {word}")),
        }
    }
    let target: SocketAddr = target.ok_or("--target is missing")?;
    if !is_loopback(target.ip()) && !is_anywhere {
        return Err(format!("{target} is not a loopback address; --not-loopback if that server is yours"));
    }
    if limits.rate.is_some_and(|rate| !(1.0..=RATE_MAX).contains(&rate)) || idle > IDLE_MAX {
        return Err(format!("--rate is 1 to {RATE_MAX}, --idle up to {IDLE_MAX}"));
    }
    if limits.count == 0 || limits.count > COUNT_MAX || !(limits.seconds > 0.0 && limits.seconds <= SECONDS_MAX) {
        return Err(format!("--count is 1 to {COUNT_MAX}, --seconds up to {SECONDS_MAX}"));
    }
    if limits.ports == 0 || limits.window < limits.ports || limits.window / limits.ports > load::SLOTS_MAX {
        return Err(format!("--window is 1 to {} times --ports", load::SLOTS_MAX));
    }
    Ok(Options {
        target,
        workload: workload.ok_or("--workload is missing")?,
        questions: folder.ok_or("--questions is missing")?,
        pid,
        core,
        seed,
        edns,
        idle,
        limits,
    })
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

fn measure(options: &Options) -> Result<String, String> {
    let mut questions = questions::Questions::read(&options.questions, options.workload, options.edns, options.seed)?;
    if let Some(core) = options.core {
        process::stay_on(core)?;
    }
    process::allow_descriptors();
    let idle = tcp::idle(options.target, options.idle, &mut questions)?;
    let before = options.pid.map(process::cpu_seconds).transpose()?;
    let mut tally = load::run(options.target, &options.limits, &mut questions, options.core.is_some())?;
    let after = options.pid.map(process::cpu_seconds).transpose()?;
    drop(idle);
    let cpu = before.zip(after).map(|(before, after)| after - before);
    Ok(report(&mut tally, cpu))
}

fn report(tally: &mut load::Tally, cpu: Option<f64>) -> String {
    tally.latencies.sort_unstable();
    let answered = tally.latencies.len() as u64;
    let at = |share: f64| match tally.latencies.len() {
        0 => "null".to_string(),
        count => format!("{:.1}", f64::from(tally.latencies[((count - 1) as f64 * share) as usize]) / 1000.0),
    };
    let rcodes: Vec<String> = (0..16)
        .filter(|&code| tally.rcodes[code] > 0)
        .map(|code| format!("\"{code}\": {}", tally.rcodes[code]))
        .collect();
    let per_query = match cpu {
        Some(cpu) if answered > 0 => format!("{:.3}", cpu * 1e6 / answered as f64),
        _ => "null".to_string(),
    };
    format!(
        "{{\"sent\": {}, \"answered\": {answered}, \"lost\": {}, \"seconds\": {:.4}, \"qps\": {:.0}, \
         \"latency_us\": {{\"p50\": {}, \"p90\": {}, \"p99\": {}, \"p999\": {}, \"max\": {}}}, \
         \"rcodes\": {{{}}}, \"truncated\": {}, \"empty\": {}, \"octets\": {}, \
         \"cpu_seconds\": {}, \"cpu_us_per_query\": {per_query}}}",
        tally.sent,
        tally.sent - answered,
        tally.seconds,
        answered as f64 / tally.seconds,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0),
        rcodes.join(", "),
        tally.truncated,
        tally.empty,
        tally.octets,
        cpu.map_or("null".to_string(), |cpu| format!("{cpu:.2}")),
    )
}

fn main() {
    match options() {
        Err(why) => {
            eprint!("geodns-load: {why}\n\n{USAGE}");
            std::process::exit(2);
        }
        Ok(options) => match measure(&options) {
            Ok(line) => println!("{line}"),
            Err(why) => {
                eprintln!("geodns-load: {why}");
                std::process::exit(1);
            }
        },
    }
}
