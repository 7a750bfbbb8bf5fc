package lab

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// WebhookDelivery is an attempt at a webhook that is about to be made.
type WebhookDelivery struct {
	Kind, Operator    string // PUSH_ARTIFACT, REPLICATION …; who did it, as the body says
	Repo, Tag, Digest string // of what was pushed, pulled or deleted; Tag is the digest where no tag was named
	Address           string // of the receiver
	Attempt           int    // 1 to 3
}

// What was measured of webhooks, from the answer to the client until they arrived.
const (
	medianDelivery = 1200 * time.Millisecond
	latestDelivery = 4400 * time.Millisecond
)

// BusyDelivery returns a Delivering of a Harbor that has much to do: each attempt waits as
// long as chance says, 1.2 s at the median and 4.4 s at most, so that webhooks overtake each
// other. Runs with one seed wait the same times, in the order in which they come.
func BusyDelivery(seed uint64) func(context.Context, WebhookDelivery) error {
	var mu sync.Mutex
	chance := rand.New(rand.NewPCG(seed, 0))
	return func(ctx context.Context, _ WebhookDelivery) error {
		mu.Lock()
		wait := deliveryTime(chance.Float64())
		mu.Unlock()
		pause(ctx, wait)
		return ctx.Err()
	}
}

// deliveryTime is how long the given part of all deliveries (0 to 1) takes at most: as many
// are faster than the median as are slower, and few come near the latest.
func deliveryTime(part float64) time.Duration {
	if part < 0.5 {
		return time.Duration(2 * part * float64(medianDelivery))
	}
	late := 2*part - 1
	return medianDelivery + time.Duration(late*late*float64(latestDelivery-medianDelivery))
}
