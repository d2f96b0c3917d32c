//! The table that a run prints, a row as soon as it is known.

use std::time::Duration;

use crate::measure::Cost;

/// One line: what was measured, beside what.
pub(crate) struct Row {
    name: String,
    ours: Vec<Cost>,
    peer: Option<(&'static str, Vec<Cost>)>,
    target: &'static str,
}

impl Row {
    pub(crate) fn new(name: &str, ours: Vec<Cost>) -> Self {
        Self { name: name.to_owned(), ours, peer: None, target: "" }
    }

    pub(crate) fn beside(self, name: &'static str, costs: Vec<Cost>) -> Self {
        Self { peer: Some((name, costs)), ..self }
    }

    pub(crate) fn target(self, target: &'static str) -> Self {
        Self { target, ..self }
    }

    pub(crate) fn print(self) {
        let (name, wall, cpu) = (&self.name, median(&self.ours), mean_cpu(&self.ours));
        let (peer, ratio) = match &self.peer {
            None => (String::new(), String::new()),
            Some((name, costs)) => {
                let (peer_wall, peer_cpu) = (median(costs), mean_cpu(costs));
                let of = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
                let cpu =
                    if peer_cpu.is_zero() { String::new() } else { format!("{:.2}", of(cpu, peer_cpu)) };
                (format!("{name} {}", ms(peer_wall)), format!("{:>6.2} {cpu:>8}", of(wall, peer_wall)))
            }
        };
        let target = self.target;
        println!("{name:30} {:>10} {:>10}   {peer:25} {ratio:>15}   {target}", ms(wall), ms(cpu));
    }
}

pub(crate) fn head() {
    println!(
        "{:30} {:>10} {:>10}   {:25} {:>6} {:>8}   target",
        "", "wall", "cpu", "floor or peer", "wall ×", "cpu ×"
    );
}

pub(crate) fn memory(name: &str, kib: u64, target: &str) {
    println!("{name:30} {:>7} MB {:62} {target}", kib * 1024 / 1_000_000, "");
}

fn median(costs: &[Cost]) -> Duration {
    let mut walls: Vec<Duration> = costs.iter().map(|cost| cost.wall).collect();
    walls.sort_unstable();
    walls.get(walls.len() / 2).copied().unwrap_or_default()
}

/// The mean, because one process's share is not much more than the clock's tick.
fn mean_cpu(costs: &[Cost]) -> Duration {
    let sum: Duration = costs.iter().map(|cost| cost.cpu).sum();
    sum / u32::try_from(costs.len().max(1)).unwrap_or(1)
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
