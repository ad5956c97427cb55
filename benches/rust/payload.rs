//! Deciding, joining, encoding and receiving payloads; `memcpy` beside them as the floor.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mcpgateway_benches::SIZES;
use mcpgateway_engine::payload::Alphabet;
use mcpgateway_engine::{Origin, Payload, Transfer, TransferPolicy};
use mcpgateway_shm::Pool;

mod measured;
use measured::group;

/// Bytes that arrive at a time, as from a socket.
const CHUNK: usize = 128 << 10;

/// The floor: `source` into memory that is used again.
fn copy(source: &[u8], reused: &mut [u8]) {
    for (room, chunk) in reused.chunks_mut(CHUNK).zip(source.chunks(CHUNK)) {
        room.copy_from_slice(black_box(chunk));
    }
}

fn policy(criterion: &mut Criterion) {
    let policy = TransferPolicy::default();
    assert_eq!(policy.decide(1 << 20, Origin::Buffer).transfer, Transfer::Borrow);
    group(criterion, "policy").bench_function("decide", |bencher| {
        bencher.iter(|| policy.decide(black_box(1 << 20), Origin::Buffer));
    });
}

fn rope(criterion: &mut Criterion) {
    let mut group = group(criterion, "rope");
    for (name, len) in SIZES {
        let (body, mut reused) = (Bytes::from(vec![7; len]), vec![0; len]);
        copy(&body, &mut reused);
        assert!(reused == body);
        let join = || Payload::join([Payload::from("{\"a\":"), body.clone().into(), Payload::from("}")]);
        assert_eq!(join().into_bytes().expect("memory").len(), len + 6);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("join/{name}"), |bencher| bencher.iter(join));
        group.bench_function(format!("gather/{name}"), |bencher| bencher.iter(|| join().into_bytes()));
        group.bench_function(format!("memcpy/{name}"), |bencher| bencher.iter(|| copy(&body, &mut reused)));
    }
}

fn base64(criterion: &mut Criterion) {
    let mut group = group(criterion, "base64");
    for (name, len) in SIZES {
        let (body, mut reused) = (Bytes::from(vec![7; len]), vec![0; len]);
        copy(&body, &mut reused);
        assert!(reused == body);
        let encode = || {
            let text = Payload::base64(body.clone().into(), Alphabet::Standard).expect("fits in memory");
            text.into_frames().map(|frame| frame.len()).sum::<usize>()
        };
        assert_eq!(encode(), len.div_ceil(3) * 4);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("stream/{name}"), |bencher| bencher.iter(encode));
        group.bench_function(format!("memcpy/{name}"), |bencher| bencher.iter(|| copy(&body, &mut reused)));
    }
}

fn regions(criterion: &mut Criterion) {
    let mut group = group(criterion, "region");
    let chunk = vec![7; CHUNK];
    for (name, len) in SIZES {
        let fill = |pool: &Pool| {
            let mut region = pool.allocate(len).expect("memory");
            while region.filled().len() < len {
                region.write(&chunk[..CHUNK.min(len - region.filled().len())]).expect("memory");
            }
            region.freeze().len()
        };
        let warm = Pool::new(1 << 30);
        let cold = Pool::new(0);
        assert_eq!((fill(&warm), fill(&cold)), (len, len));
        let (body, mut reused) = (vec![7; len], vec![0; len]);
        copy(&body, &mut reused);
        assert!(reused == body);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("warm/{name}"), |bencher| bencher.iter(|| fill(&warm)));
        group.bench_function(format!("cold/{name}"), |bencher| bencher.iter(|| fill(&cold)));
        group.bench_function(format!("memcpy/{name}"), |bencher| bencher.iter(|| copy(&body, &mut reused)));
    }
}

criterion_group!(benches, policy, rope, base64, regions);
criterion_main!(benches);
