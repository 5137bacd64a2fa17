//! The background task: registers again and again, which is the heartbeat too.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::{Error, Node, Registry, State};

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between tries of what was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// How long the node may take to be removed.
const REMOVAL: Duration = Duration::from_secs(5);

pub(crate) async fn keep(
    registry: impl Registry,
    node: Node,
    state: watch::Sender<State>,
    mut stop: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let mut failures = 0;
    loop {
        let pause = pause(&state.borrow(), node.ttl, failures);
        tokio::select! {
            // An error is a sender that was dropped, which is how it is told.
            _ = &mut stop => break,
            () = sleep(pause) => {}
        }
        // Not interrupted: a try that is still under way must not come after the removal.
        let now = match registry.register(&node).await {
            Ok(()) => State::Registered,
            Err(e) => State::Failing(e),
        };
        failures = if now == State::Registered { 0 } else { failures + 1 };
        tell(&state, now, &node);
    }
    let removed = timeout(REMOVAL, registry.remove(&node)).await;
    removed.unwrap_or_else(|_| Err(Error::Unavailable("there was no answer in time".into())))
}

fn tell(state: &watch::Sender<State>, now: State, node: &Node) {
    state.send_if_modified(|before| {
        let changed = *before != now;
        if changed {
            match &now {
                State::Registered => log::info!("{} of {} is registered again", node.upstream, node.service),
                State::Failing(e) => log::warn!("{} of {} is not registered: {e}", node.upstream, node.service),
            }
            *before = now;
        }
        changed
    });
}

/// Three heartbeats within the time to live. After a failure soon, then less often; never all
/// clients at the same time.
fn pause(state: &State, ttl: Duration, failures: u32) -> Duration {
    let longest = match state {
        State::Registered => ttl / 3,
        State::Failing(Error::Unavailable(_)) => (FIRST_PAUSE * 2u32.pow(failures.min(8))).min(LONGEST_PAUSE),
        State::Failing(Error::Refused(_)) => REFUSED_PAUSE,
    };
    longest.mul_f64(0.75 + fastrand::f64() / 4.0)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::Instant;

    use super::*;
    use crate::{Registration, async_trait};

    /// Answers as it is told, and notes when it was asked.
    #[derive(Clone, Default)]
    struct Script {
        answers: Arc<Mutex<Vec<Result<(), Error>>>>,
        calls: Arc<Mutex<Vec<(&'static str, Instant)>>>,
    }

    #[async_trait]
    impl Registry for Script {
        async fn register(&self, _: &Node) -> Result<(), Error> {
            self.calls.lock().unwrap().push(("register", Instant::now()));
            self.answers.lock().unwrap().pop().unwrap_or(Ok(()))
        }

        async fn remove(&self, _: &Node) -> Result<(), Error> {
            self.calls.lock().unwrap().push(("remove", Instant::now()));
            Ok(())
        }
    }

    impl Script {
        fn names(&self) -> Vec<&'static str> {
            self.calls.lock().unwrap().iter().map(|(name, _)| *name).collect()
        }
    }

    fn node() -> Node {
        Node::new("demo1", "10.0.0.5:8080").ttl(Duration::from_secs(9))
    }

    fn away() -> Error {
        Error::Unavailable("away".into())
    }

    #[tokio::test(start_paused = true)]
    async fn it_beats_three_times_within_the_time_to_live_and_removes_at_the_end() {
        let script = Script::default();
        let registration = Registration::start(script.clone(), node()).await.unwrap();
        sleep(Duration::from_millis(9001)).await;
        let beats = script.names().len() - 1;
        assert!((3..=4).contains(&beats), "{beats}");
        registration.close().await.unwrap();
        assert_eq!(script.names().iter().filter(|name| **name == "remove").count(), 1);
        assert_eq!(script.names().last(), Some(&"remove"));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_removes_too() {
        let script = Script::default();
        drop(Registration::start(script.clone(), node()).await.unwrap());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(script.names(), ["register", "remove"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_refusal_is_an_error_and_a_registry_that_is_away_is_none() {
        let script = Script::default();
        let refused = Error::Refused("no".into());
        script.answers.lock().unwrap().push(Err(refused.clone()));
        assert_eq!(Registration::start(script.clone(), node()).await.unwrap_err(), refused);

        script.answers.lock().unwrap().extend([Ok(()), Err(away()), Err(away()), Err(away())]);
        let mut registration = Registration::start(script.clone(), node()).await.unwrap();
        assert_eq!(registration.state(), State::Failing(away()));
        assert_eq!(registration.changed().await, State::Registered);
        let calls = script.calls.lock().unwrap();
        let pauses: Vec<_> = calls[1..].windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        assert!(pauses[0] >= FIRST_PAUSE * 3 / 4 && pauses[2] > pauses[0], "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_refusal_is_told_and_tried_again_slowly() {
        let script = Script::default();
        let refused = Error::Refused("taken".into());
        let mut registration = Registration::start(script.clone(), node()).await.unwrap();
        script.answers.lock().unwrap().extend([Ok(()), Err(refused.clone())]);
        assert_eq!(registration.changed().await, State::Failing(refused));
        let since = Instant::now();
        assert_eq!(registration.changed().await, State::Registered);
        assert!(since.elapsed() >= REFUSED_PAUSE * 3 / 4);
    }

    #[test]
    fn pauses_differ_and_stay_within_bounds() {
        let pauses =
            |state: State, failures| -> Vec<_> { (0..100).map(|_| pause(&state, node().ttl, failures)).collect() };
        let beats = pauses(State::Registered, 0);
        assert!(beats.iter().all(|pause| *pause <= node().ttl / 3 && *pause > node().ttl / 5));
        assert!(beats.iter().any(|pause| *pause != beats[0]));
        assert!(pauses(State::Failing(away()), 40).iter().all(|pause| *pause <= LONGEST_PAUSE));
    }
}
