//! Runs processes and says what each cost: wall time, processor time, peak memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// What one process cost.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    /// From before its start to after its end.
    pub(crate) wall: Duration,
    /// User and system time of the process and of its children; counted in ticks of 10 ms.
    pub(crate) cpu: Duration,
}

/// Makes a command anew for each round.
pub(crate) type Make<'a> = &'a mut dyn FnMut() -> Result<Command>;

/// Runs each of the commands `rounds` times, in turns.
pub(crate) fn interleaved<const N: usize>(rounds: usize, mut make: [Make<'_>; N]) -> Result<[Vec<Cost>; N]> {
    let mut costs = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for (make, costs) in make.iter_mut().zip(&mut costs) {
            costs.extend(once(make()?)?);
        }
    }
    Ok(costs)
}

/// Runs a command once.
pub(crate) fn once(mut command: Command) -> Result<Vec<Cost>> {
    let (cpu, start) = (children_cpu()?, Instant::now());
    let status = command.stdout(Stdio::null()).status()?;
    let wall = start.elapsed();
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(vec![Cost { wall, cpu: children_cpu()?.saturating_sub(cpu) }])
}

/// The peak of a command's resident memory, in KiB: the last value that the kernel showed of it.
pub(crate) fn peak_kib(mut command: Command) -> Result<u64> {
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let mut peak = 0;
    while child.try_wait()?.is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let now = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
        peak = peak.max(now.and_then(|kib| kib.parse().ok()).unwrap_or(0));
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(peak)
}

/// Processor time of all children that were waited for, theirs included.
fn children_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // After the name, in parentheses: state is field 3, the children's user and system ticks 16 and 17.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat")?;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<u64>);
    Ok(Duration::from_millis(ticks.sum::<std::result::Result<u64, _>>()? * 10))
}
