use std::sync::atomic::AtomicUsize;

use super::*;
use crate::domain::spec::BatchSpec;
use crate::inference::LocalModel;
use crate::inference::tests::{load_bytes, load_file};
use crate::protocol::tensor::{Tensor, TensorData};

/// Answers `values[index]` for each index, and fails beyond its table.
fn gather() -> Arc<LocalModel> {
    let model = load_file("tests/data/models/gather.onnx");
    model.check_batching("gather".as_ref()).expect("rows are independent");
    Arc::new(model)
}

fn indexes(model: &LocalModel, values: &[i64]) -> Prepared {
    let data = TensorData::Int64(values.to_vec());
    let tensor = Tensor::new("index", [values.len()].as_slice(), data).expect("agrees");
    model.prepare(vec![tensor], &[]).expect("fits")
}

fn batching(model: &Arc<LocalModel>, max_size: usize, max_delay: Duration) -> Lane {
    let limits = LaneLimits { queue: 1000, concurrency: usize::MAX };
    Lane::batching(limits, Arc::clone(model), BatchSpec { max_size, max_delay })
}

type Floats = Result<Vec<f32>, InferError>;

fn floats(result: Result<Ran, InferError>) -> Floats {
    result.map(|ran| match ran.outputs.first().map(Tensor::data) {
        Some(TensorData::Fp32(values)) => values.clone(),
        other => panic!("no floats: {other:?}"),
    })
}

fn ask(executor: &Executor, lane: &Lane, model: &LocalModel, values: &[i64]) -> Pending<Floats> {
    executor.submit_rows(lane, later(), indexes(model, values), floats).expect("room")
}

#[test]
fn what_waits_runs_together_and_everyone_gets_their_own_rows() {
    let model = gather();
    let executor = Executor::new(1).expect("a thread");
    let (release, blocker) = occupy(&executor);
    let lane = batching(&model, 4, Duration::ZERO);
    let asked: [&[i64]; 5] = [&[0], &[3, 1], &[2], &[], &[1, 1, 1, 1, 1]];
    let pending: Vec<_> =
        asked.iter().map(|values| ask(&executor, &lane, &model, values)).collect();
    assert_eq!((lane.stats().waiting, executor.stats().queued), (5, 5));
    drop(release);
    wait(blocker).expect("runs");
    for (values, pending) in asked.iter().zip(pending) {
        let answer = wait(pending).expect("runs").value.expect("answers");
        let expected: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        assert_eq!(answer, expected);
    }
    executor.close();
    let stats = lane.stats();
    assert_eq!((stats.full, stats.delay, stats.taken_apart), (3, 0, 0), "{stats:?}");
    assert_eq!((stats.waiting, stats.running), (0, 0));
    assert_eq!(executor.stats(), ExecutorStats { finished: 6, ..ExecutorStats::default() });
}

#[test]
fn one_bad_request_fails_alone() {
    let model = gather();
    let executor = Executor::new(1).expect("a thread");
    let (release, blocker) = occupy(&executor);
    let lane = batching(&model, 8, Duration::ZERO);
    let pending: Vec<_> =
        [1, 99, 2].iter().map(|value| ask(&executor, &lane, &model, &[*value])).collect();
    drop(release);
    wait(blocker).expect("runs");
    let answers: Vec<_> =
        pending.into_iter().map(|pending| wait(pending).expect("ends").value).collect();
    assert_eq!((&answers[0], &answers[2]), (&Ok(vec![1.0]), &Ok(vec![2.0])));
    assert!(answers[1].is_err(), "{answers:?}");
    assert_eq!(lane.stats().taken_apart, 1);
}

#[test]
fn those_who_left_or_are_too_late_are_not_in_the_batch() {
    let model = gather();
    let executor = Executor::new(1).expect("a thread");
    let (release, blocker) = occupy(&executor);
    let lane = batching(&model, 8, Duration::ZERO);
    drop(ask(&executor, &lane, &model, &[1]));
    let late = executor.submit_rows(&lane, Instant::now(), indexes(&model, &[2]), floats);
    let good = ask(&executor, &lane, &model, &[3]);
    drop(release);
    wait(blocker).expect("runs");
    assert!(matches!(wait(late.expect("room")), Err(ExecutorError::Expired { .. })));
    assert_eq!(wait(good).expect("runs").value, Ok(vec![3.0]));
    executor.close();
    let (stats, lane) = (executor.stats(), lane.stats());
    assert_eq!((stats.abandoned, stats.expired, stats.queued), (1, 1, 0));
    assert_eq!((lane.rows, lane.waiting), (1, 0));
}

#[test]
fn a_request_waits_for_others_as_long_as_it_may() {
    let model = gather();
    let executor = Executor::new(2).expect("threads");
    let delay = Duration::from_millis(40);
    let lane = batching(&model, 2, delay);
    let alone = wait(ask(&executor, &lane, &model, &[1])).expect("runs");
    assert!(alone.waited >= delay, "{:?}", alone.waited);
    let slow = batching(&model, 2, LONG);
    let first = ask(&executor, &slow, &model, &[1]);
    let second = ask(&executor, &slow, &model, &[2]);
    for (pending, expected) in [(first, 1.0), (second, 2.0)] {
        assert_eq!(wait(pending).expect("runs").value, Ok(vec![expected]));
    }
    assert_eq!((lane.stats().delay, slow.stats().full), (1, 1));
    let left = ask(&executor, &slow, &model, &[3]);
    executor.close();
    assert_eq!(wait(left), Err(ExecutorError::Closed), "its timer is discarded");
}

#[test]
fn a_full_lane_refuses_rows_at_once() {
    let model = gather();
    let executor = Executor::new(1).expect("a thread");
    let limits = LaneLimits { queue: 1, concurrency: usize::MAX };
    let spec = BatchSpec { max_size: 8, max_delay: LONG };
    let lane = Lane::batching(limits, Arc::clone(&model), spec);
    let waiting = ask(&executor, &lane, &model, &[1]);
    let refused = executor.submit_rows(&lane, later(), indexes(&model, &[2]), floats).map(|_| ());
    assert_eq!(refused, Err(QueueFull { limit: 1 }));
    assert_eq!(executor.stats().refused, 1);
    drop(waiting);
}

#[test]
fn a_version_uses_no_more_threads_than_it_may() {
    let executor = Executor::new(4).expect("threads");
    let narrow = Lane::new(LaneLimits { queue: 100, concurrency: 2 });
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let jobs: Vec<_> = (0..40)
        .map(|_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            let job = move || {
                most.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
                std::thread::park_timeout(Duration::from_millis(1));
                running.fetch_sub(1, Relaxed);
            };
            executor.submit(&narrow, later(), job).expect("room")
        })
        .collect();
    let other = executor.submit(&lane(1), later(), || 7).expect("room");
    assert_eq!(wait(other).expect("runs").value, 7);
    for job in jobs {
        wait(job).expect("runs");
    }
    assert_eq!(most.load(Relaxed), 2);
}

#[test]
fn under_load_every_answer_is_the_right_one() {
    let model = gather();
    let executor = Executor::new(2).expect("threads");
    let lane = batching(&model, 8, Duration::from_micros(200));
    std::thread::scope(|scope| {
        for caller in 0..8usize {
            let (executor, lane, model) = (&executor, &lane, &model);
            scope.spawn(move || {
                for round in 0..100usize {
                    let rows = 1 + (caller + round) % 3;
                    let values: Vec<i64> =
                        (0..rows).map(|row| ((caller + round + row) % 4) as i64).collect();
                    let answer = wait(ask(executor, lane, model, &values)).expect("runs").value;
                    let expected: Vec<f32> = values.iter().map(|value| *value as f32).collect();
                    assert_eq!(answer, Ok(expected));
                }
            });
        }
    });
    let stats = lane.stats();
    assert_eq!(stats.batch_rows.iter().sum::<u64>(), stats.full + stats.delay);
    assert_eq!(stats.batch_rows.iter().skip(4).sum::<u64>(), 0, "no batch above 8 rows: {stats:?}");
}

#[test]
fn a_model_whose_rows_depend_on_each_other_is_not_batched() {
    use crate::inference::tests::onnx::{FLOAT, Graph, int, ints};
    let mean = vec![ints("axes", &[0]), int("keepdims", 1)];
    let centred = Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .node_with("ReduceMean", &["x"], "mean", mean)
        .node("Sub", &["x", "mean"], "y")
        .output("y", FLOAT, &["N", "2"]);
    let fixed = Graph::default().input("x", FLOAT, &["3", "2"]).node("Relu", &["x"], "y").output(
        "y",
        FLOAT,
        &["3", "2"],
    );
    let total = Graph::default()
        .input("x", FLOAT, &["N", "2"])
        .node_with("ReduceSum", &["x"], "y", vec![int("keepdims", 1)])
        .output("y", FLOAT, &["1", "1"]);
    for (graph, why) in [
        (centred, "(node 'mean.sum') looks at all rows together"),
        (fixed, "its first input has no open first dimension"),
        (total, "output 0 does not have one row for each prediction"),
    ] {
        let model = load_bytes(&graph.encode()).expect("loads");
        let refusal = model.check_batching("m.onnx".as_ref()).expect_err(why).to_string();
        assert!(refusal.contains(why), "{refusal}");
    }
    for good in ["iris/v1", "iris/v2", "digits/v1", "convnet/v1"] {
        let model = load_file(&format!("config/models/{good}/model.onnx"));
        model.check_batching(good.as_ref()).expect(good);
    }
}
