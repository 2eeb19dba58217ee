//! Where writers of this process stand in line, first come, first served.
//!
//! Not at the database's lock: there each would hold a connection, be served in any order, and lose its patience while others
//! are. A thousand people who sign in at once all get in; a database that hangs sends them away soon.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StoreError;

/// Nobody waits longer while nobody is served.
const STUCK: Duration = Duration::from_secs(8);
/// Nor longer than this at all.
const LONGEST: Duration = Duration::from_mins(2);

#[derive(Debug)]
pub(super) struct Queue {
    door: Arc<Semaphore>,
    /// How many were.
    served: Arc<AtomicU64>,
}

/// Leave to write, given on when it is dropped. Whoever had the database's answers was served, also one who wrote nothing
/// in the end (what they decided on was not so); whoever had none was not, and the line does not move by it.
#[derive(Debug)]
pub(super) struct Turn {
    answered: bool,
    served: Arc<AtomicU64>,
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// The database says so far what it is asked.
    pub(super) fn answered(mut self) -> Self {
        self.answered = true;
        self
    }

    /// It said no, or nothing.
    pub(super) fn failed(&mut self) {
        self.answered = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.answered {
            self.served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            door: Arc::new(Semaphore::new(1)),
            served: Arc::default(),
        }
    }
}

impl Queue {
    #[cfg(test)]
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(super) async fn turn(&self) -> Result<Turn, StoreError> {
        let begun = Instant::now();
        // One place in the line, kept through all looks at whether it moves.
        let mut place = pin!(Arc::clone(&self.door).acquire_owned());
        loop {
            let served = self.served.load(Ordering::Relaxed);
            match tokio::time::timeout(STUCK, &mut place).await {
                Ok(Ok(permit)) => {
                    return Ok(Turn {
                        answered: false,
                        served: Arc::clone(&self.served),
                        _permit: permit,
                    });
                }
                Err(_) if begun.elapsed() < LONGEST && self.served.load(Ordering::Relaxed) != served => {}
                // The door is never closed.
                Ok(Err(_)) | Err(_) => return Err(StoreError::TimedOut),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_sent_away_while_the_line_moves_and_everybody_soon_when_it_stands() {
        let queue = Arc::new(Queue::default());
        let writers: Vec<_> = (0..5)
            .map(|_| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move {
                    let _turn = queue.turn().await?.answered();
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    Ok::<_, StoreError>(())
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        // Whoever had no answer did not move it.
        let mut hangs = queue.turn().await.unwrap().answered();
        hangs.failed();
        let served = queue.served();
        drop(hangs);
        assert_eq!(queue.served(), served);
        let _stands = queue.turn().await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(matches!(queue.turn().await, Err(StoreError::TimedOut)));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
