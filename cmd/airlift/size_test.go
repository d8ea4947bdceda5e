package main

import "testing"

func TestVolumeSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1":                   1,
		"4000000000":          4000000000,
		"9223372036854775807": 9223372036854775807,
		"650MB":               650_000_000,
		"650 mb":              650_000_000,
		"1.5GB":               1_500_000_000,
		"4GiB":                4 << 30,
		"100KiB":              100 << 10,
		"10KB":                10_000,
		"2TiB":                2 << 40,
		"fat32":               4_294_967_295,
		"cd":                  632_891_136,
		"dvd":                 2_316_445_568,
		"dvd-dl":              4_216_445_568,
		"bd":                  4_155_481_856,
	} {
		if got, err := volumeSize(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "0.0GB", "-1", "+1", "1,000", "4G", "4GiBs", "dvdr", "DVD", "GiB", ".5GB", "1e9", "٣GB", "1\x00MB",
		"9223372036854775808", "99999999999999999999999", "8388608TiB", " 1", "1  GB"} {
		if got, err := volumeSize(text); err == nil || exitCode(err) != exitUsage {
			t.Errorf("%q: got %d, %v, want a usage error", text, got, err)
		}
	}
}

// Volumes for a medium fill it without eating its reserve, and fit on FAT.
func TestVolumesFillTheirMedium(t *testing.T) {
	for name, capacity := range media {
		size, err := volumeSize(name)
		if err != nil || size > fatFileMax {
			t.Fatalf("%s: %d, %v", name, size, err)
		}
		count := capacity / size
		if free := capacity - count*size; free < mediumReserve || free > mediumReserve+count {
			t.Errorf("%s: %d volumes of %d leave %d", name, count, size, free)
		}
	}
}
