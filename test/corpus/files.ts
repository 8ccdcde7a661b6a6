// Awkward folders of the real world.

export interface FileShape {
  title: string
  /** bash that makes it, in an empty folder `data`. `acl KIND FILE TAG:PERMISSIONS[:ID]…` sets an ACL. */
  make: string
  /** What is declared, beside the folder `data`; default: that folder. */
  paths?: string[]
  /** The size of a filesystem of its own. */
  disk?: string
  /** Holds entries that a restore brings back with --allow-privileged alone. */
  privileged?: true
  /** What a backup says; with `partial` it ends so. */
  told?: RegExp
  partial?: true
  /** Entries that restic doesn't bring back as they were, by path. Nobody is told. */
  lost?: RegExp
}

const n = (char: string, times: number) => `$(printf '${char}%.0s' {1..${times}})`

export const files: FileShape[] = [
  // Names.
  {
    title: 'names of 255 bytes',
    make: `echo 1 >${n('n', 255)}; echo 2 >${n('ü', 127)}x; mkdir ${n('d', 254)}; echo 3 >${n('d', 254)}/${n('f', 255)}`,
  },
  {
    title: 'names with line breaks and tabs',
    make: `echo 1 >$'a\\nb'; mkdir $'\\n'; echo 2 >$'\\n/\\n\\n'; echo 3 >$'\\t'; echo 4 >$'# file: x\\nuser.a="b"'; ln -s $'to\\n' $'li\\nnk'`,
  },
  {
    title: 'names that look like options',
    make: 'echo 1 >./-rf; echo 2 >./--; echo 3 >./-; mkdir ./--target=; echo 4 >./--target=/-n; echo 5 >./--json; echo 6 >./@file',
  },
  {
    title: 'names that are patterns',
    make: `echo 1 >'*'; echo 2 >'?'; echo 3 >'[a-z]'; echo 4 >'['; echo 5 >']'; echo 6 >'{a,b}'; mkdir '**'; echo 7 >'**/[!x]'; echo 8 >'!important'; echo 9 >'\\*'; echo a >a; echo b >'^'`,
  },
  {
    title: 'names of blanks, at the end or alone',
    make: `echo 1 >' '; echo 2 >'  '; mkdir 'a '; echo 3 >'a /b '; echo 4 >' lead'; echo 5 >$'tab\\t'; echo 6 >$'\\xc2\\xa0'; echo 7 >'dot.'; echo 8 >...`,
  },
  {
    title: 'backslashes and quotes',
    make: `echo 1 >'\\'; echo 2 >'a\\b'; echo 3 >'\\n'; echo 4 >'\\x41'; echo 5 >'\\u{41}'; echo 6 >"'"; echo 7 >'"'; echo 8 >'\`'; mkdir '\\\\'; echo 9 >'\\\\/\\012'; echo a >'a\\'`,
  },
  {
    title: 'terminal escapes and other control characters',
    make: `echo 1 >$'\\e[31mred'; echo 2 >$'\\e]0;title\\a'; echo 3 >$'\\x7f'; echo 4 >$'over\\rwritten'; echo 5 >$'\\b\\b'; mkdir $'\\e[2J'; echo 6 >$'\\e[2J'/$'\\xc2\\x9b2J'; echo 7 >$'\\x01\\x02\\x1f'`,
  },
  {
    title: 'right-to-left, invisible, line separators',
    make: `echo 1 >$'\\u202egpj.exe'; echo 2 >$'\\u200b'; echo 3 >'עברית'; echo 4 >$'\\ufeffbom'; echo 5 >$'a\\u2028b'; mkdir $'\\u2029'; echo 6 >$'\\u2029'/$'\\u0085'; echo 7 >$'\\uffff'`,
  },
  {
    title: 'Latin-1, cut and impossible UTF-8',
    make: `echo 1 >$'caf\\xe9'; echo 2 >'caf\\xe9'; echo 3 >$'caf\\ufffd'; echo 4 >$'\\xc3'; echo 5 >$'\\xed\\xa0\\x80'; echo 6 >$'\\xed\\xb3\\xa9'; echo 7 >$'\\xf4\\x90\\x80\\x80'; mkdir $'\\xff'; echo 8 >$'\\xff/\\xfe'; echo 9 >$'\\xc0\\xaf'; ln -s $'caf\\xe9' $'l\\xefnk'`,
  },
  {
    title: 'composed beside decomposed, twins but for their case',
    make: `echo 1 >$'\\u00e9'; echo 2 >$'e\\u0301'; echo 3 >A; echo 4 >a; mkdir $'\\u212b' $'\\u00c5' $'A\\u030a'; echo 5 >$'\\u212b/f'; echo 6 >ﬁ; echo 7 >fi; echo 8 >İ; echo 9 >ı`,
  },
  {
    title: 'what shells and programs expand',
    make: `echo 1 >'~'; echo 2 >'$HOME'; echo 3 >'$(id)'; echo 4 >'\`id\`'; echo 5 >'%n'; echo 6 >'%s%s'; echo 7 >'!!'; echo 8 >'#x'; echo 9 >';'; echo a >'a & b | c > d'; mkdir '~root'; echo b >'~root/\${x}'; echo c >'file:%00'`,
  },
  {
    title: 'names like data',
    make: `echo 1 >__proto__; echo 2 >constructor; echo 3 >'{"a":1}'; echo 4 >null; echo 5 >latest; echo 6 >CON; echo 7 >'a:b'; echo 8 >'1:2,S'; mkdir 0; echo 9 >0/-1; echo a >'a,b'; echo b >'a=b'`,
  },
  {
    title: 'sidecars of a database that is none',
    make: 'for end in -wal -shm -journal -wal2 -mj12345678; do echo $end >notes.db$end; echo $end >./$end; done; mkdir x-wal; echo 1 >x-wal/f; sqlite3 undeclared.db ".dbconfig no_ckpt_on_close on" "PRAGMA journal_mode=wal" "CREATE TABLE t(a)" >/dev/null; test -s undeclared.db-wal',
  },
  {
    title: 'folders that programs know',
    make: `mkdir lost+found .git .Trash-0 .snapshots .zfs; echo 1 >lost+found/'#123'; echo 2 >.git/config; echo 3 >.git/index.lock; printf 'Signature: 8a477f597d28d172789f06886806bc55' >CACHEDIR.TAG; echo 4 >.nobackup; echo 5 >core; echo 6 >nohup.out; echo 7 >.nfs0001; echo 8 >.fuse_hidden01`,
  },
  {
    title: 'declared names that are patterns, blanks, quotes',
    paths: ['[a]*?', ' b ', '-rf', `q'"\``, '\\', '$HOME', 'ü', '{x,y}', '!z', '#', '%n'],
    make: `cd ..; for d in '[a]*?' ' b ' -rf q\\'\\"\\\` '\\' '$HOME' ü '{x,y}' '!z' '#' %n; do mkdir -p ./"$d"; echo "$d" >./"$d"/f; done; echo undeclared >aXX`,
  },
  {
    title: 'a file is what is declared',
    paths: ['data/one file', 'data/empty', 'data/deep/link'],
    make: `echo 1 >'one file'; >empty; chmod 0640 'one file'; mkdir deep; ln -s ../empty deep/link; echo beside >beside`,
  },

  // Depth and numbers.
  { title: 'a thousand levels', make: `d=${n('d/', 1000)}; mkdir -p $d; echo 1 >$d/f` },
  { title: 'thousands of small files', make: 'mkdir many; for ((i = 0; i < 3000; i++)); do echo $i >many/$i; done; mkdir -p e/{1..300}' },

  // Sizes.
  { title: 'empty files and folders', make: '>empty; mkdir -p folder/in/folder; >folder/.keep' },
  {
    title: 'holes at the beginning, in the middle, at the end',
    make: 'truncate -s 40M begins middle; echo x >>begins; truncate -s 80M middle; echo x >middle.x; dd if=/dev/urandom of=middle bs=1M count=1 conv=notrunc status=none; dd if=/dev/urandom of=middle bs=1M seek=70 count=1 conv=notrunc status=none; echo x >ends; truncate -s 60M ends; truncate -s 90M all',
  },
  { title: 'a sparse file that is larger than its disk', disk: '120m', make: 'echo first >image; truncate -s 300M image; echo last >>image' },
  {
    title: 'zeros that are no hole, room that is reserved',
    make: 'head -c 9M /dev/zero >zeros; fallocate -l 20M reserved; >beyond; fallocate -n -l 20M beyond; echo x >>beyond',
  },
  {
    title: 'sizes around blocks and chunks',
    make: 'for size in 1 511 512 513 4095 4096 4097 524288 1048575; do head -c $size /dev/urandom >$size; cat $size $size >twice-$size; done',
  },

  // Links.
  {
    title: 'hard links across folders',
    make: 'mkdir -p a/b c; echo 1 >a/b/one; ln a/b/one c/two; ln c/two three; head -c 3M /dev/urandom >c/large; ln c/large a/large; >none; ln none a/none',
  },
  {
    title: 'hard links across declared paths',
    paths: ['data', 'more', 'third/file'],
    make: 'mkdir ../more ../third; head -c 2M /dev/urandom >one; ln one ../more/two; ln one ../third/file; ln one within',
  },
  { title: 'hard links to what is not declared', make: 'echo 1 >../outside; ln ../outside inside; ln inside twin' },
  // restic joins the names of plain files alone.
  { title: 'hard-linked links, pipes', lost: /^data\/(twin|pipe2)$/, make: 'ln -s target link; ln -P link twin; mkfifo pipe; ln pipe pipe2' },
  { title: 'loops', make: 'ln -s a b; ln -s b a; ln -s self self; ln -s . here; ln -s .. above; mkdir d; ln -s ../d d/d' },
  {
    title: 'links that lead nowhere, everywhere',
    make: 'ln -s /nonexistent/x dangling; ln -s / root; ln -s /dev/zero zero; ln -s /proc/self/fd/0 fd; ln -s /dev/full full; ln -s ../../../../../../../.. far; ln -s dangling/below below',
  },
  {
    title: 'long and odd targets of links',
    make: `t=${n('t/', 2047)}; ln -s $t long; ln -s ${n('t', 4095)} longest; ln -s $'\\n' line; ln -s $'caf\\xe9' latin; ln -s $'\\e[31m' escape; ln -s '\\xe9' text; ln -s ' ' blank; ln -s './/a/../b/' untidy; ln -s '*' star`,
  },

  // Rights, attributes, owners.
  {
    title: 'ACLs: default, named users and groups, mask',
    make: 'mkdir d d/sub; echo 1 >d/f; acl default d u:7 U:5:4242 g:5 G:7:4343 m:7 o:0; acl access d u:7 U:7:4242 g:5 m:5 o:0; acl access d/f u:6 U:6:1 U:0:4294967294 g:0 G:4:65534 m:4 o:0; acl access d/sub u:7 g:0 G:7:10 m:7 o:0; chown 33:44 d/f',
  },
  {
    title: 'user attributes: binary, large, empty, on folders',
    make: `echo 1 >f; mkdir d; setfattr -n user.bin -v 0x000a0dff00e9 f; setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\\0' x)" f; setfattr -n user.none -v '' d; setfattr -n user.on.folder -v $'two\\nlines' d; setfattr -n 'user.a b=c' -v 1 f; setfattr -n user.ü -v 2 f; echo 2 >$'n\\n'; setfattr -n user.x -v 3 $'n\\n'; >empty; setfattr -n user.e -v 4 empty; chmod 000 empty`,
  },
  {
    title: 'attributes of root, on links and pipes too',
    make: 'echo 1 >f; mkdir d; ln -s f l; mkfifo p; for e in f d l p; do setfattr -h -n trusted.overlay.opaque -v y $e; done',
  },
  {
    title: 'file capabilities',
    privileged: true,
    make: `cp /bin/true ping; setcap cap_net_raw+ep ping; cp ping $'pi\\nng'; setcap cap_net_admin,cap_chown=eip $'pi\\nng'; cp ping $'a\\u2028b\\\\'; setcap cap_chown+p $'a\\u2028b\\\\'`,
  },
  {
    title: 'setuid, setgid and sticky',
    privileged: true,
    told: /holds privileged files/,
    make: 'cp /bin/true su; chmod 4755 su; cp /bin/true sg; chown 0:44 sg; chmod 2755 sg; >both; chown 7:7 both; chmod 6000 both; mkdir group tmp all; chown 33:44 group; chmod 2770 group; chmod 1777 tmp; chmod 7777 all; echo x >group/f',
  },
  {
    title: 'modes that let nobody in',
    make: 'echo 1 >none; mkdir closed; echo 2 >closed/f; echo 3 >write; echo 4 >run; mkdir look; echo 5 >look/f; chmod 000 none closed; chmod 0222 write; chmod 0111 run; chmod 0444 look',
  },
  {
    title: 'read-only trees',
    make: 'mkdir -p store/a/b; echo 1 >store/a/b/f; chmod 0444 store/a/b/f; touch -d @1 store/a/b/f; chmod -R a-w store; touch -d @1 store/a/b store/a store; mkdir objects; echo 2 >objects/0a; chmod 0444 objects/0a',
  },
  {
    title: 'owners that nobody is',
    make: 'for id in 1 999 61184 65534 65535 65536 2147483647 2147483648 4294967294; do echo $id >$id; chown $id:$id $id; mkdir d$id; chown $id:0 d$id; done; ln -s x l; chown -h 4294967294:61184 l; chown 33:33 .',
  },
  // restic sets times in nanoseconds since 1970, which 64 bits hold until 2262.
  {
    title: 'times before 1970, after 2038, to the nanosecond',
    lost: /2400/,
    make: `mkdir d; ln -s x l; for t in 1901-12-14 1969-12-31T23:59:59.999999999Z 1970-01-01T00:00:00Z 2038-01-19T03:14:08Z 2106-02-07T06:28:16.123456789Z 2400-01-01 @1 @1700000000.000000001; do >"$t"; touch -d "$t" "$t"; done; touch -h -d 1960-02-03T04:05:06.7Z l; touch -d 2050-01-01T00:00:00.000000007Z d; touch -d 1980-01-01 .`,
  },
  { title: 'files that may not be changed', make: 'echo 1 >fixed; mkdir log; echo 2 >log/grows; chattr +i fixed; chattr +a log/grows' },

  // What is no file.
  { title: 'pipes', make: `mkfifo p; mkfifo $'p\\n'; chmod 0600 p; chown 33:33 p; mkdir d; mkfifo d/-wal` },
  // restic makes none: whoever listens there makes it anew.
  {
    title: 'sockets',
    lost: /^data\/(s|d\/s)$/,
    make: `mkdir d; perl -MSocket -e 'for (@ARGV) { socket(my $s, AF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un($_)) or die }' s d/s; echo 1 >beside`,
  },
  {
    title: 'devices, and the whiteouts of containers',
    privileged: true,
    told: /holds privileged files/,
    make: 'mknod null c 1 3; mknod disk b 259 70000; chmod 0660 disk; chown 0:6 disk; mkdir upper; mknod upper/gone c 0 0; setfattr -n trusted.overlay.opaque -v y upper; mknod big c 300 1048575',
  },
  {
    title: 'a mail folder, a store of hashes, a tree of a package',
    make: `mkdir -p Maildir/{cur,new,tmp} Maildir/.Sent/cur; echo 1 >Maildir/cur/'1700000000.M1P1.host,S=1:2,FS'; echo 2 >Maildir/new/'1700000000.M2P1.host'; mkdir -p blobs/{0..9}{a..f}; echo 3 >blobs/0a/${n('f', 64)}; mkdir -p node_modules/@scope/.bin; ln -s ../x/cli.js node_modules/@scope/.bin/x; chown -R 1000:1000 Maildir`,
  },
  {
    title: 'a path of nearly 4,096 bytes',
    make: `p=$PWD d=${n('d', 200)}; while ((\${#p} + 204 < 4080)); do mkdir $d; cd $d; p=$p/$d; done; f=$(head -c $((4080 - \${#p} - 1)) </dev/zero | tr '\\0' f); echo 1 >"\${f:-f}"`,
  },
]
