package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"example.org/breakwater/proxy/announce"
	"example.org/breakwater/proxy/fetch"
	"example.org/breakwater/proxy/follow"
	"example.org/breakwater/proxy/namespace"
	"example.org/breakwater/proxy/outcome"
	"example.org/breakwater/proxy/peer"
	"example.org/breakwater/proxy/push"
	"example.org/breakwater/proxy/source"
	"example.org/breakwater/proxy/state"
	"example.org/breakwater/proxy/tags"
	"example.org/breakwater/proxy/touch"
	"example.org/breakwater/proxy/version"
	"example.org/breakwater/registry"
)

const (
	// ackPatience is how long the answer to a write waits for the peers to hear of it.
	ackPatience = 250 * time.Millisecond
	// acknowledgedHeader says in that answer which datacenters' edges have.
	acknowledgedHeader = "Breakwater-Acknowledged"
	// versionHeader says which version a push has: time@datacenter.
	versionHeader = "Breakwater-Version"

	maxAnnouncement = 8 << 20 // bytes
)

// newVersions makes the ledger, and what tells and hears of it.
func (h *Handler) newVersions() {
	h.touches = h.newTouches()
	ledger := version.Config{Datacenter: h.cfg.Datacenter, Log: h.cfg.Log, Now: h.cfg.Now, Changed: h.versionsChanged,
		Seen: h.seen, Since: h.cfg.Access.Since}
	if h.cfg.State != nil {
		ledger.State = h.cfg.State
	}
	h.versions = version.New(ledger)
	h.refusals = fetch.NewRefusals()
	h.underway = push.NewUnderway(h.cfg.Now)
	h.doubts = push.NewDoubts(h.cfg.Now)
	h.follower = follow.New(follow.Config{Ledger: h.versions, Harbor: h.routes.Harbor, Look: h.cfg.Access.Confirms, Content: h.contentOf, Elsewhere: h.elsewhere, Accepts: h.accepts, Adopt: h.adopt, Keeps: func(repo string) bool { return !h.namespaces.OfRepo(repo).Away }, Pushing: func(repo string, d digest.Digest) bool { return h.underway.Has(repo, "", d) }, Projects: func() []string { return h.namespaces.Projects(namespace.MultiDC) }, OwnsTags: func(project string) bool { owns := h.live.Load().OwnsTags; return owns != nil && owns(project) }, Complete: func() bool { return h.announcer.Complete() },
		Settled: fetch.Settled, Publish: func() bool { return len(h.routes.Peers()) > 0 }, Pace: h.cfg.Pace, Log: h.cfg.Log, Metrics: h.cfg.Metrics, Now: h.cfg.Now})
	h.announcer = announce.New(announce.Config{Ledger: h.versions, Peers: h.routes.Peers(), Pace: h.cfg.Pace, Log: h.cfg.Log, Metrics: h.cfg.Metrics,
		Takes: h.versioned, Touches: h.touches, Settled: fetch.Settled, Now: h.cfg.Now, Keep: h.fetch.KeepTold,
		Manifest: func(d digest.Digest) []byte {
			body, err := h.fetch.Read(d)
			if err != nil {
				return nil
			}
			return body
		},
		Served: func(ctx context.Context, s *source.Source, key version.Key) (version.Record, error) {
			return h.fetch.Served(ctx, s, key, h.namespaces.OfRepo(key.Repo))
		}})
	h.fetch.Heard = h.announcer.Told
	h.fetch.Accepts = func(key version.Key, has digest.Digest) bool {
		if h.accepts(key, has) {
			return true
		}
		h.follower.Lagging(key, has)
		return false
	}
	h.declare()
}

// declare takes over which projects have names of their own. What peers told of one before was
// not for this edge.
func (h *Handler) declare() {
	if h.cfg.Access != nil {
		h.cfg.Access.Declare(h.namespaces.Kinds(), h.versions.HearAnew)
	}
}

// newTouches makes what shows Harbor's retention the pulls that do not reach it.
func (h *Handler) newTouches() *touch.Toucher {
	cfg := touch.Config{Harbor: h.routes.Harbor, Peers: h.routes.Peers, Namespace: h.namespaces.OfRepo, Accept: fetch.ManifestTypes,
		Every:   func() time.Duration { return h.live.Load().Touch },
		Machine: func(account string) bool { is := h.live.Load().Machine; return is != nil && is(account) },
		Plain:   h.cfg.Access.KnownPlain, Pace: h.cfg.Pace, Log: h.cfg.Log, Metrics: h.cfg.Metrics, Now: h.cfg.Now}
	if h.cfg.State != nil {
		cfg.State = h.cfg.State
	}
	return touch.New(cfg)
}

var _ version.State = (*state.DB)(nil)

// versioned reports whether a reference has versions: those of multi-dc- projects have.
func (h *Handler) versioned(key version.Key) bool {
	if key.IsTag() && !registry.ValidTag(key.Reference) {
		return false
	}
	return registry.ValidRepo(key.Repo) && h.namespaces.OfRepo(key.Repo).Kind == namespace.MultiDC
}

// versionsChanged drops what was learned of references before their records changed.
func (h *Handler) versionsChanged(all map[version.Key]version.Record, own bool) {
	var deleted []version.Key
	for key, r := range all {
		if key.IsTag() {
			h.written(key.Repo, key.Reference)
		} else if r.Known() && r.Deleted() {
			h.written(key.Repo, "")
			deleted = append(deleted, key)
		}
		h.follower.Changed(key, r, own)
		if key.IsTag() && r.Known() && !r.Deleted() {
			h.warm.Pushed(key.Repo, key.Reference, r.Version.At())
		}
	}
	h.forgetManifests(deleted...)
	if own {
		h.announcer.Changed()
	}
}

// written has nothing that is being learned of a repo outlive a write.
func (h *Handler) written(repo, moved string) {
	h.tags.Written(repo, moved)
	h.lists.Written(repo)
}

// forgetManifests drops what is known of manifests that were deleted, by their digests: lists
// that were seen before may name them. Who is told of the delete finds none of it again,
// though the edge is killed at once.
func (h *Handler) forgetManifests(all ...version.Key) {
	for _, key := range all {
		h.tags.Deleted(key.Repo, key.Digest())
		h.lists.Written(key.Repo)
		h.cfg.State.DropLists(key.Repo)
		h.cfg.Access.Leave(key.Repo)
	}
	if len(all) > 0 {
		h.cfg.State.Save() //nolint:errcheck // the state logs that its disk takes nothing
	}
}

// ordered gives a push its version, from when it began, and tells the peers before the
// client hears of it. Where a peer's Harbor takes it the edge there notes the same version.
func (h *Handler) ordered(p push.Pushed, mediaType string) {
	tag := p.Reference
	if !(version.Key{Reference: tag}).IsTag() {
		tag = ""
	}
	if r, newest := h.versions.Write(p.Repo, tag, p.Digest, mediaType, p.Begun); r.Known() {
		h.cfg.Log.Info("pushed", "repo", p.Repo, "reference", p.Reference, "digest", p.Digest.String(), "version", r.Version.String())
		p.Answer.Set(versionHeader, r.Version.String())
		p.Answer.Del(acknowledgedHeader)
		switch {
		case !newest:
			h.announcer.Changed() // Harbors may yet tell of what was overtaken
		case !p.FromPeer: // else it is not what the peers hear of from here
			h.acknowledge(p.Answer)
		}
	}
}

// begin is what is known when a write begins, at the edge to which the client came.
func (h *Handler) begin(r *request) version.Begun {
	shown, err := version.ParseMark(r.http.Header.Get(peer.RecordHeader))
	if r.peer == "" || err != nil {
		return h.versions.Begin(r.Repo, r.Tag)
	}
	h.versions.Hear(shown.Version.Time)
	return version.Begun{Version: shown.Version, Knew: shown.Knew, After: shown.After}
}

// acknowledge waits for the peers to hear of what was written, and says which have.
func (h *Handler) acknowledge(answer http.Header) {
	ctx, cancel := context.WithTimeout(context.Background(), ackPatience)
	defer cancel()
	if all := h.announcer.Acknowledged(ctx); len(all) > 0 {
		answer.Set(acknowledgedHeader, strings.Join(all, ", "))
	}
}

// serveAnnouncement hears what another edge says was pushed and deleted there.
func (h *Handler) serveAnnouncement(w *response, r *request) error {
	if r.http.Method != http.MethodPost {
		return registry.Errorf(registry.CodeUnsupported, "an announcement is a POST")
	}
	var b announce.Batch
	if err := json.NewDecoder(http.MaxBytesReader(w, r.http.Body, maxAnnouncement)).Decode(&b); err != nil {
		return registry.Errorf(registry.CodeManifestInvalid, "the announcement cannot be read: %v", err)
	}
	position, ok := h.announcer.Hear(r.peer, b)
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		w.WriteHeader(http.StatusConflict)
	}
	return json.NewEncoder(w).Encode(position)
}

// newest returns the newest version of the tag that is asked for, the zero Record where
// there is none. gone: it was deleted, and is served to nobody. A peer is told the version.
func (h *Handler) newest(w *response, r *request) (want version.Record, gone bool) {
	if r.ns.Kind != namespace.MultiDC {
		return want, false
	}
	key := version.Key{Repo: r.Repo, Reference: r.Tag}
	if r.Tag == "" {
		gone = h.versions.Gone(r.Repo, r.Digest)
		if key = version.Revived(r.Repo, r.Digest); gone {
			key = version.Buried(r.Repo, r.Digest)
		}
	}
	want = h.versions.Use(key)
	h.mark(w, r, key, want)
	if r.Tag == "" {
		return version.Record{}, gone
	}
	if !want.Known() { // before it is overwritten
		h.shown(key)
	}
	return want, h.versions.Deleted(r.Repo, want)
}

// mark tells a peer which version it is answered with.
func (h *Handler) mark(w *response, r *request, key version.Key, told version.Record) {
	if r.peer == "" {
		return
	}
	w.Header().Del(peer.RecordHeader)
	if told.Known() {
		told.Digest, told.MediaType, told.Claimed = "", "", h.versions.Claimed(key)
		w.Header().Set(peer.RecordHeader, told.Mark())
	}
}

// answered takes note of what a client or peer is about to be shown under a tag, which had
// the version want when it was asked for. moved: it is not to be shown, because the tag has
// got its first version since: which of the two is newer nobody has said.
func (h *Handler) answered(w *response, r *request, want version.Record, d digest.Digest) (moved bool) {
	if r.ns.Kind != namespace.MultiDC || r.Tag == "" {
		return false
	}
	key := version.Key{Repo: r.Repo, Reference: r.Tag}
	now := h.versions.Get(key)
	if now.Known() && !want.Known() && now.Digest != d {
		return true
	}
	if !now.Known() && !h.accepts(key, d) {
		h.versions.Shown(key, d)
	}
	if now.Digest != d { // it has moved meanwhile
		now = version.Record{}
	}
	h.mark(w, r, key, now)
	return false
}

// shown takes note of what clients are shown under a tag that has no version: what is
// pushed here after that is newer.
func (h *Handler) shown(key version.Key) {
	if d := h.seen(key); d != "" {
		h.versions.Shown(key, d)
	}
}

// seen is the digest that a tag was last seen to be, "" for none, and for one that is deleted:
// no client was shown it since.
func (h *Handler) seen(key version.Key) digest.Digest {
	e, _, _ := h.tags.Get(tags.Key{Repo: key.Repo, Reference: key.Reference}, 0)
	if e.Digest == "" || h.versions.Gone(key.Repo, e.Digest) {
		return ""
	}
	return e.Digest
}

// gone reports whether a digest was deleted from a repo of the kind, and not pushed since.
func (h *Handler) gone(kind namespace.Kind, repo string, d digest.Digest) bool {
	return kind == namespace.MultiDC && h.versions.Gone(repo, d)
}

// ask asks the sources for a manifest, by the newest version of its tag that is known when
// it begins: a write after that ends the revalidation that this is for.
func (h *Handler) ask(ctx context.Context, q fetch.Question, old tags.Entry) (tags.Found, error) {
	key := version.Key{Repo: q.Request.Repo, Reference: q.Request.Tag}
	if q.Namespace.Kind == namespace.Cache {
		return h.fetch.Kept(ctx, q, old)
	}
	if q.Namespace.Kind != namespace.MultiDC || q.Request.Tag == "" {
		return h.fetch.Manifest(ctx, q, old)
	}
	for range maxWithdrawn {
		if h.versions.Claimed(key) { // else its own edge says soon whether that is so
			soon, cancel := context.WithTimeout(ctx, staleAfter)
			h.announcer.Verify(soon, key)
			cancel()
		}
		q.Want = h.versions.Get(key)
		if h.versions.Deleted(key.Repo, q.Want) {
			return tags.Found{}, errDeleted()
		}
		found, err := h.askAround(ctx, q, old)
		if err == nil && !q.Want.Known() && len(h.routes.Peers()) > 0 {
			if d := h.versions.Instead(key, found.Entry.Digest); d != "" {
				if shown, err := h.fetch.Manifest(ctx, q.By(d), tags.Entry{}); err == nil {
					return shown, nil
				}
			}
		}
		h.refusals.Note(key.Repo, q.Want.Digest, err)
		if err == nil || !outcome.IsNo(err) || !q.Want.Known() || q.OwnOnly || q.Only != "" {
			return found, err
		}
		if !h.cfg.Access.Has(key.Repo) { // the project is gone, and may be made again
			return found, err
		}
		if h.versions.Claimed(key) || q.Want.Age(h.cfg.Now()) < fetch.Settled { // it was acknowledged a short while ago
			return found, outcome.DontKnow(err)
		}
		h.versions.Retire(key, q.Want.Version) // retention has removed it everywhere
	}
	return tags.Found{}, outcome.DontKnow(errors.New("its versions change all the time"))
}

const maxWithdrawn = 5

// askAround asks for a tag, and not elsewhere where all have said before that they do not have it.
// Where all that others have taken is known, those say so who are to hold it.
func (h *Handler) askAround(ctx context.Context, q fetch.Question, old tags.Entry) (tags.Found, error) {
	key, begun := tags.Key{Repo: q.Request.Repo, Reference: q.Request.Tag}, h.cfg.Now()
	remembers := !q.OwnOnly && q.Only == "" && !q.Want.Known() && h.announcer.Level()
	nowhere := remembers && h.tags.Nowhere(key)
	q.OwnOnly, q.HomesOnly = q.OwnOnly || nowhere, remembers && len(q.Namespace.Homes) > 0
	found, err := h.fetch.Manifest(ctx, q, old)
	if q.HomesOnly && err != nil && outcome.IsDontKnow(err) {
		q.HomesOnly = false
		found, err = h.fetch.Manifest(ctx, q, old)
	}
	if remembers && !nowhere && outcome.IsFirmNo(err) {
		h.tags.NotElsewhere(key, begun)
	}
	return found, err
}

func errDeleted() *registry.Error {
	return registry.Errorf(registry.CodeManifestUnknown, "it was deleted")
}

// accepts reports whether what the local Harbor has under a tag, another digest than the
// newest version's, is newer: Harbor has taken a push whose answer was lost. All else
// is what a replication, a restart or a backup has brought back, and Harbor is set right.
func (h *Handler) accepts(key version.Key, has digest.Digest) bool {
	if mediaType, begun, ok := h.doubts.Of(key, has); ok {
		_, newest := h.versions.Write(key.Repo, key.Reference, has, mediaType, begun)
		return newest
	}
	return false
}

// outlives reports whether a manifest that no Harbor of the fleet has is served all the
// same: it is of a repo that was pushed to a short while ago, and nobody has deleted it.
// A Harbor that was restored from a backup lacks what was acknowledged since.
func (h *Handler) outlives(r *request) bool {
	if r.ns.Kind != namespace.MultiDC || r.Digest == "" || h.versions.Gone(r.Repo, r.Digest) {
		return false
	}
	if h.cfg.Access.LookNow(r.http.Context(), r.Repo); !h.cfg.Access.Has(r.Repo) { // all of the project is gone
		return false
	}
	holds := h.cfg.Access.Member(r.Repo, r.Digest)
	for _, record := range h.versions.Tags(r.Repo) {
		if (holds || record.Digest == r.Digest) && !record.Deleted() && record.Age(h.cfg.Now()) < fetch.Settled {
			return true
		}
	}
	return false
}
