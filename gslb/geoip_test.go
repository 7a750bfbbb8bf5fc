package gslb

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// city is a record of the GeoIP2 City schema.
func city(lat, lon float64) mmdbtype.Map {
	return mmdbtype.Map{"location": mmdbtype.Map{"latitude": mmdbtype.Float64(lat), "longitude": mmdbtype.Float64(lon)}}
}

func country(code, continent string) mmdbtype.Map {
	return mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(code)}, "continent": mmdbtype.Map{"code": mmdbtype.String(continent)}}
}

func database(t testing.TB, records map[string]mmdbtype.Map) []byte {
	t.Helper()
	return databaseWith(t, records, mmdbwriter.Options{RecordSize: 28})
}

func databaseWith(t testing.TB, records map[string]mmdbtype.Map, options mmdbwriter.Options) []byte {
	t.Helper()
	options.DatabaseType, options.IncludeReservedNetworks = "GeoLite2-City", true
	tree, err := mmdbwriter.New(options)
	if err != nil {
		t.Fatal(err)
	}
	networks := keys(records)
	slices.SortFunc(networks, func(a, b string) int { return netip.MustParsePrefix(a).Bits() - netip.MustParsePrefix(b).Bits() })
	for _, network := range networks { // a longer one goes into a shorter one, not the other way
		rec := records[network]
		_, n, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Insert(n, rec); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := tree.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A damaged database is a sentence, never a panic, and changes nothing.
func TestDamagedDatabases(t *testing.T) {
	records := map[string]mmdbtype.Map{}
	for i := range 200 {
		records[fmt.Sprintf("1.%d.0.0/16", i)] = city(float64(i%90), float64(i))
	}
	good := database(t, records)
	load := func(data []byte) error {
		_, err := NewPlaces(PlacesConfig{Datacenters: four(), GeoIP: writeFile(t, "city.mmdb", data)})
		return err
	}
	if err := load(good); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 100, len(good) / 4, len(good) / 2, len(good) * 3 / 4, len(good) - 200, len(good) - 1} {
		if err := load(good[:n]); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("cut to %d of %d bytes: %v", n, len(good), err)
		}
	}
	r := rand.New(rand.NewPCG(9, 10))
	for range 500 {
		bad := slices.Clone(good)
		for range 1 + r.IntN(20) {
			bad[r.IntN(len(bad))] = byte(r.Uint32())
		}
		load(bad) //nolint:errcheck // it may be readable; it must not panic or hang
	}
	if err := load(database(t, map[string]mmdbtype.Map{"1.0.0.0/8": {"asn": mmdbtype.Uint32(1)}})); err == nil || !strings.Contains(err.Error(), "says where a network is") {
		t.Error(err)
	}
}

// Databases come with IPv4 alone, in each of its places within IPv6, and in only one;
// coordinates in half precision, none, or none on earth.
func TestDatabasesOfAllKinds(t *testing.T) {
	half := mmdbtype.Map{"location": mmdbtype.Map{"latitude": mmdbtype.Float32(42.36), "longitude": mmdbtype.Float32(-71.06)}}
	nan := city(math.NaN(), 2)
	nan["country"] = mmdbtype.Map{"iso_code": mmdbtype.String("US")}
	v4 := map[string]mmdbtype.Map{"0.0.0.0/1": country("", "EU"), "1.2.0.0/16": city(42.36, -71.06), "1.3.0.0/16": half, "1.4.0.0/16": city(91, 0), "1.5.0.0/16": nan, "1.2.3.4/32": {}, "223.255.255.255/32": country("US", "")}
	both := map[string]mmdbtype.Map{"2000::/3": country("FR", ""), "2001:db8::/32": city(42.36, -71.06), "2001:db8::1/128": {}, "8000::/1": country("US", "NA")}
	maps.Copy(both, v4)
	wantV4 := map[string]string{
		"1.1.1.1": "par1,par2 nyc1,lab1", "1.2.0.0": "nyc1 par1,par2 lab1", "1.2.255.255": "nyc1 par1,par2 lab1", "1.2.3.4": "par1,par2,nyc1,lab1", "1.2.3.5": "nyc1 par1,par2 lab1",
		"1.3.3.3": "nyc1 par1,par2 lab1", "1.4.4.4": "par1,par2,nyc1,lab1", "1.5.5.5": "nyc1 par1,par2,lab1", "::ffff:1.2.3.5": "nyc1 par1,par2 lab1",
		"126.255.255.255": "par1,par2 nyc1,lab1", "128.0.0.0": "par1,par2,nyc1,lab1", "223.255.255.255": "nyc1 par1,par2,lab1",
	}
	wantBoth := map[string]string{
		"2000::": "par1,par2 nyc1,lab1", "3fff:ffff::1": "par1,par2 nyc1,lab1", "4000::": "par1,par2,nyc1,lab1", "2001:db8::": "nyc1 par1,par2 lab1", "2001:db8::1": "par1,par2,nyc1,lab1",
		"2001:db8::2": "nyc1 par1,par2 lab1", "8000::": "nyc1 par1,par2,lab1", "::2": "par1,par2,nyc1,lab1",
		"2002:102:304::1": "par1,par2 nyc1,lab1", // 6to4 is no place: what holds it counts
	}
	maps.Copy(wantBoth, wantV4)
	aliased := maps.Clone(wantBoth)
	aliased["2002:102:304::1"] = "par1,par2,nyc1,lab1" // a hole where IPv4 is again
	for name, c := range map[string]struct {
		records map[string]mmdbtype.Map
		options mmdbwriter.Options
		want    map[string]string
	}{
		"IPv4":          {v4, mmdbwriter.Options{IPVersion: 4, RecordSize: 24}, wantV4},
		"aliased":       {both, mmdbwriter.Options{RecordSize: 28}, aliased},
		"not aliased":   {both, mmdbwriter.Options{RecordSize: 32, DisableIPv4Aliasing: true}, wantBoth},
		"IPv4 in IPv6":  {v4, mmdbwriter.Options{RecordSize: 28}, wantV4},
		"one of all":    {map[string]mmdbtype.Map{"::/0": country("US", "NA")}, mmdbwriter.Options{DisableIPv4Aliasing: true}, map[string]string{"1.2.3.4": "nyc1 par1,par2,lab1", "2a00::1": "nyc1 par1,par2,lab1"}},
		"hidden in it":  {map[string]mmdbtype.Map{"::ffff:0:0/96": country("US", "NA"), "1.0.0.0/8": country("FR", "EU")}, mmdbwriter.Options{DisableIPv4Aliasing: true}, map[string]string{"1.2.3.4": "par1,par2 nyc1,lab1", "2.3.4.5": "par1,par2,nyc1,lab1"}},
		"all of IPv4":   {map[string]mmdbtype.Map{"0.0.0.0/0": country("US", "NA")}, mmdbwriter.Options{}, map[string]string{"1.2.3.4": "nyc1 par1,par2,lab1", "2a00::1": "par1,par2,nyc1,lab1"}},
		"the other one": {map[string]mmdbtype.Map{"8000::/1": country("US", "NA")}, mmdbwriter.Options{}, map[string]string{"1.2.3.4": "par1,par2,nyc1,lab1", "8000::1": "nyc1 par1,par2,lab1"}},
	} {
		p, err := NewPlaces(PlacesConfig{Datacenters: four(), GeoIP: writeFile(t, "city.mmdb", databaseWith(t, c.records, c.options))})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for client, want := range c.want {
			if got := p.groupsOf(t, client); got != want {
				t.Errorf("%s: %s: %s, want %s (%s)", name, client, got, want, p.explain(netip.MustParseAddr(client)))
			}
		}
	}
}

// A search tree each of whose nodes is twice in the next above has 2^30 leaves.
func TestATreeThatIsNone(t *testing.T) {
	data := databaseWith(t, map[string]mmdbtype.Map{"0.0.0.0/30": country("US", "NA")}, mmdbwriter.Options{IPVersion: 4, RecordSize: 24})
	const nodes = 30
	for i := range nodes {
		next := i + 1
		if next == nodes {
			next += 16 // the first record
		}
		for _, at := range []int{6 * i, 6*i + 3} {
			data[at], data[at+1], data[at+2] = 0, 0, byte(next)
		}
	}
	_, err := NewPlaces(PlacesConfig{Datacenters: four(), GeoIP: writeFile(t, "city.mmdb", data)})
	if err == nil || !strings.Contains(err.Error(), "is no tree") {
		t.Error(err)
	}
}

// BenchmarkCity reads a database of a million networks, each in a place of its own.
func BenchmarkCity(b *testing.B) {
	r := rand.New(rand.NewPCG(17, 18))
	records := map[string]mmdbtype.Map{}
	for len(records) < 1_000_000 {
		a := randomAddress(r)
		length := 20 + r.IntN(5)
		if a.Is6() {
			length = 40 + r.IntN(9)
		}
		p, _ := a.Prefix(length)
		records[p.String()] = city(r.Float64()*180-90, r.Float64()*360-180)
	}
	file := filepath.Join(b.TempDir(), "city.mmdb")
	if err := os.WriteFile(file, databaseWith(b, records, mmdbwriter.Options{DisableIPv4Aliasing: true}), 0o600); err != nil {
		b.Fatal(err)
	}
	clear(records)
	b.ReportAllocs()
	for b.Loop() {
		p, err := NewPlaces(PlacesConfig{Datacenters: four(), GeoIP: file})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(p.table.starts)), "intervals")
	}
}
