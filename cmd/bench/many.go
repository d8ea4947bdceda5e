package main

func (b *bench) many() error { return nil }
func (b *bench) link() error { return nil }
func (b *bench) vast() error { return nil }
