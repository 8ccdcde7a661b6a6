// Services that other modules declare with their data.
import { describe, expect, test } from 'vitest'
import { readManifest } from '../../src/manifest/load.ts'
import { hasNix, host, libs } from './nix.ts'

describe.skipIf(!hasNix).each(libs)('with %s', (_, lib) => {
  const found = async (services: string, backup = '') => {
    const { manifest, assertions } = await host(lib, `[ { atelier.services = { ${services} }; atelier.backup = { enable = true; ${backup} }; } ]`)
    expect(assertions).toEqual([])
    readManifest(JSON.stringify(manifest), 'manifest.json')
    return manifest.services
  }

  test("the database's folder and the files are backed up, and the units to stop are the service's units", async () => {
    const { shop } = await found(`shop = {
      enable = true;
      data = { sqlite = "/var/lib/shop/shop.db"; files = [ "/srv/shop" ]; exclude = [ "*.tmp" ]; stopForBackup = true; stopUnits = [ "shop" "shop.socket" ]; };
    };`)
    expect(shop).toMatchObject({
      enable: true,
      paths: ['/var/lib/shop', '/srv/shop'],
      sqlite: ['/var/lib/shop/shop.db'],
      postgres: [],
      exclude: ['*.tmp'],
      units: ['shop.service', 'shop.socket'],
      stopForBackup: true,
    })
  })

  test('one database or several, named by a word or a list', async () => {
    const { one, more } = await found(`
      one = { enable = true; data.postgres = "one"; };
      more = { enable = true; data = { sqlite = [ "/m/a.db" "/m/b.db" ]; postgres = [ "m" "n" ]; }; };`)
    expect(one).toMatchObject({ postgres: ['one'], paths: [], units: null })
    expect(more).toMatchObject({ paths: ['/m'], sqlite: ['/m/a.db', '/m/b.db'], postgres: ['m', 'n'] })
  })

  test('a SQLite database alone is never stopped for', async () => {
    const { a, b } = await found(`
      a = { enable = true; data = { sqlite = "/a/a.db"; stopForBackup = true; }; };
      b = { enable = true; data = { sqlite = "/b/b.db"; postgres = "b"; stopForBackup = true; }; };`)
    expect([a?.stopForBackup, b?.stopForBackup]).toEqual([false, true])
  })

  test('services without data are left out; disabled ones stay restorable', async () => {
    const services = await found(`
      bare = { enable = true; };
      empty = { enable = true; data = { sqlite = null; postgres = null; files = [ ]; exclude = [ "x" ]; }; };
      off = { enable = false; data.files = [ "/off" ]; };`)
    expect(Object.keys(services)).toEqual(['off'])
    expect(services.off).toMatchObject({ enable: false, paths: ['/off'] })
  })

  test('what is declared under atelier.backup.services wins, field by field', async () => {
    const { shop } = await found(
      'shop = { enable = false; data = { sqlite = "/var/lib/shop/shop.db"; files = [ "/srv/shop" ]; exclude = [ "*.tmp" ]; }; };',
      'services.shop = { enable = true; paths = [ "/srv/other" ]; retention.daily = 30; };',
    )
    expect(shop).toMatchObject({
      enable: true,
      paths: ['/srv/other'],
      sqlite: ['/var/lib/shop/shop.db'],
      exclude: ['*.tmp'],
      retention: { daily: 30, weekly: null },
    })
  })
})
