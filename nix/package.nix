# The command `atelier-backup`, built from source.
{
  lib,
  stdenvNoCC,
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
  sources = files: lib.fileset.toSource { root = ../.; fileset = lib.fileset.unions files; };

  # The lock file names no download addresses, without which importNpmLock and fetchNpmDeps can't fetch. So npm fetches, and may bring
  # nothing but what the hash says. With the lock file's own hash in the name an outdated tree isn't taken from the store;
  # test/nix/package.test.ts tells the new hash.
  dependencies = stdenvNoCC.mkDerivation {
    name = "atelier-backup-dependencies-${builtins.substring 0 12 (builtins.hashFile "sha256" ../package-lock.json)}";
    src = sources [ ../package.json ../package-lock.json ];
    nativeBuildInputs = [ cacert nodejs ];
    impureEnvVars = lib.fetchers.proxyImpureEnvVars;
    buildPhase = ''
      export HOME=$TMPDIR
      npm ci --omit=dev --ignore-scripts --no-audit --no-fund
      rm node_modules/.package-lock.json
    '';
    installPhase = "mv node_modules $out";
    # It would put store paths into scripts, and so into what the hash is of.
    dontFixup = true;
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
    outputHash = "0xwacmj23v83752wc354p107w000dxv4v0jlkmqwdxiz99hakkhb";
  };
in
stdenvNoCC.mkDerivation {
  pname = "atelier-backup";
  inherit (lib.importJSON ../package.json) version;
  src = sources [ ../package.json ../tsconfig.json ../scripts/build.mjs ../scripts/docs ../src ];
  nativeBuildInputs = [ esbuild installShellFiles makeWrapper nodejs ];

  buildPhase = ''
    runHook preBuild
    cp -r --no-preserve=mode ${dependencies} node_modules
    install -D ${./esbuild.cjs} node_modules/esbuild/index.js
    node scripts/build.mjs
    runHook postBuild
  '';

  # Everything that it starts, whatever the PATH of who starts it. PostgreSQL's programs are the host's own, which fit its server.
  installPhase = ''
    runHook preInstall
    mkdir -p $out/lib
    mv dist $out/lib/atelier-backup
    makeWrapper ${lib.getExe nodejs} $out/bin/atelier-backup \
      --add-flags $out/lib/atelier-backup/atelier-backup.cjs \
      --prefix PATH : ${lib.makeBinPath [ bash btrfs-progs coreutils findutils openssh rclone restic sqlite systemd util-linux ]}
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
    inherit (lib.importJSON ../package.json) description;
    mainProgram = "atelier-backup";
    license = lib.licenses.mit;
    platforms = lib.platforms.linux;
  };
}
