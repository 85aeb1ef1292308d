package seal

import (
	"fmt"
	"testing"
)

// benchmark runs f for a certificate of each kind and messages of two sizes.
func benchmark(b *testing.B, f func(b *testing.B, k *NodeKey, plaintext []byte)) {
	keys := testKeys(b)
	for _, name := range []string{"version 2", "version 1", "ML-KEM"} {
		for _, size := range []int{300, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				f(b, keys[name], make([]byte, size))
			})
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	benchmark(b, func(b *testing.B, k *NodeKey, plaintext []byte) {
		c := certificateOf(b, k)
		for b.Loop() {
			mustSeal(b, c, plaintext)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	benchmark(b, func(b *testing.B, k *NodeKey, plaintext []byte) {
		msg := mustSeal(b, certificateOf(b, k), plaintext)
		for b.Loop() {
			if _, err := k.Open(msg, testTime); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSealReused is BenchmarkSeal with a session key that serves for all messages; with
// version 1 each has its own all the same.
func BenchmarkSealReused(b *testing.B) {
	benchmark(b, func(b *testing.B, k *NodeKey, plaintext []byte) {
		s := certificateOf(b, k).NewSealer()
		for b.Loop() {
			if _, err := s.Seal(plaintext, testTime); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpenReused is BenchmarkOpen with a session key that is kept.
func BenchmarkOpenReused(b *testing.B) {
	benchmark(b, func(b *testing.B, k *NodeKey, plaintext []byte) {
		o := NewOpener(k)
		msg := mustSeal(b, certificateOf(b, k), plaintext)
		for b.Loop() {
			if _, err := o.Open(msg, alice, testTime); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpenNeverReused is BenchmarkOpen where session keys are kept in vain.
func BenchmarkOpenNeverReused(b *testing.B) {
	k := newTestKey(b)
	c := certificateOf(b, k)
	o := NewOpener(k)
	messages := make([][]byte, 2*maxKeptNode)
	for i := range messages {
		messages[i] = mustSeal(b, c, make([]byte, 300))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := o.Open(messages[i%len(messages)], user("a.example", i%len(messages)), testTime); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCertificate(b *testing.B) {
	cert := newTestKey(b).Certificate()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseCertificate(cert); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSigned is what a message between users costs the one who writes it, and the one who reads it.
func BenchmarkSigned(b *testing.B) {
	alice, bob := newTestUserKey(b, "alice@a.example"), newTestUserKey(b, "bob@b.example")
	from, to := userCertificate(b, alice), userCertificate(b, bob)
	plaintext := make([]byte, 300)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := alice.Seal(to, plaintext, testTime); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		msg := mustSign(b, alice, bob, string(plaintext), testTime)
		for b.Loop() {
			if err := mustOpen(b, bob, msg).SignedBy(from, testTime); err != nil {
				b.Fatal(err)
			}
		}
	})
}
