# The command `atelier-backup`, built from source.
{
  lib,
  stdenvNoCC,
  attr,
  bash,
  btrfs-progs,
  cacert,
  coreutils,
  esbuild,
  findutils,
  installShellFiles,
  makeWrapper,
  nodejs,
  openssh,
  rclone,
  restic,
  sqlite,
  systemd,
  util-linux,
  versionCheckHook,
}:
let
  packageJson = lib.importJSON ../package.json;
  sources =
    files:
    lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions files;
    };

  # importNpmLock and fetchNpmDeps need download addresses, which the lock file doesn't have. So npm downloads the packages in a
  # fixed-output derivation. Its name contains the lock file's hash: without that, Nix would take an outdated tree with the old
  # outputHash from the store. test/nix/package.test.ts prints the new outputHash.
  dependencies = stdenvNoCC.mkDerivation {
    name = "atelier-backup-dependencies-${
      builtins.substring 0 12 (builtins.hashFile "sha256" ../package-lock.json)
    }";
    src = sources [
      ../package.json
      ../package-lock.json
    ];
    nativeBuildInputs = [
      cacert
      nodejs
    ];
    impureEnvVars = lib.fetchers.proxyImpureEnvVars;
    buildPhase = ''
      export HOME=$TMPDIR
      npm ci --omit=dev --ignore-scripts --no-audit --no-fund
      rm node_modules/.package-lock.json
    '';
    installPhase = "mv node_modules $out";
    # The fixup would write store paths into scripts, which a fixed-output derivation must not contain.
    dontFixup = true;
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
    outputHash = "0xwacmj23v83752wc354p107w000dxv4v0jlkmqwdxiz99hakkhb";
  };

  # Every program that the command starts, so that the caller's PATH doesn't matter. PostgreSQL's clients are missing on purpose: they
  # must fit the host's server, and the module puts that server's own on the PATH of its units.
  runtimePath = lib.makeBinPath [
    attr
    bash
    btrfs-progs
    coreutils
    findutils
    openssh
    rclone
    restic
    sqlite
    systemd
    util-linux
  ];
in
stdenvNoCC.mkDerivation {
  pname = "atelier-backup";
  inherit (packageJson) version;
  src = sources [
    ../package.json
    ../tsconfig.json
    ../scripts/build.mjs
    ../scripts/docs
    ../src
  ];
  nativeBuildInputs = [
    esbuild
    installShellFiles
    makeWrapper
    nodejs
  ];

  buildPhase = ''
    runHook preBuild
    cp -r --no-preserve=mode ${dependencies} node_modules
    install -D ${./esbuild.cjs} node_modules/esbuild/index.js
    node scripts/build.mjs
    runHook postBuild
  '';

  installPhase = ''
    runHook preInstall
    mkdir -p $out/lib
    mv dist $out/lib/atelier-backup
    makeWrapper ${lib.getExe nodejs} $out/bin/atelier-backup \
      --add-flags $out/lib/atelier-backup/atelier-backup.cjs \
      --prefix PATH : ${runtimePath}
    installManPage scripts/docs/atelier-backup.1
    installShellCompletion --cmd atelier-backup \
      --bash scripts/docs/completions/atelier-backup.bash \
      --zsh scripts/docs/completions/_atelier-backup \
      --fish scripts/docs/completions/atelier-backup.fish
    runHook postInstall
  '';

  doInstallCheck = true;
  nativeInstallCheckInputs = [ versionCheckHook ];

  meta = {
    inherit (packageJson) description;
    mainProgram = "atelier-backup";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
  };
}
