"""Words that settings are named with. Setting definition ids are written without spaces: these tell where a word ends.

A word that is missing leaves its part of a name as one run of letters; nothing else depends on these lists.
"""

from collections.abc import Mapping
from types import MappingProxyType

_UPPER = """
aad ac ad admx aes ai api apn aslr asr ats av bios bssid cbc ccm ccs cdn cfa cmd cpu crl crls csp css csv cve dc dde
dfs dhcp dif dll dm dma dmz dns doc docx dvd dvr eap ecs edr efs esp ews exe faq fba fde fido fips fqdn ftp ftps gal
gdi gpo gps gpu guid hevc hr hsts html http https hvci icmp id ie iis imap imei ioav ip ipp ips irm json kfm laps
ldap llmnr lpt lsa lte mam mdag mde mdm mfa mht mhtml mime mk mms mps mpssvc ms msa msal msi mss mtu nat nfc nla nps
nr ntds ntlm ntlmssp ntp ocsi ocsp ocx odbc odf odp ods odt oem ole oobe oom os ospf ost pac pc pde pdf peap pii pim
pin pki pkinit png pnp pptx psk pst pua qos qr quic raid ram rdp rom rpc rpm rsa rss rtc rtf rtp sam saml scep sd
seh sftp sha sid sim sku smb smb1 smb2 smime sms smtp sni sql ssd ssh ssid ssl sso ssp svg tacacs tcc tcp tcui tdc
tdo tdp tdr tdt tls tpm ttl uac udp uefi ui uns upn uri url usb utc uuid uwp ux vba vbs vdi vm vml voip vpn wcm wdac
wdag wdigest webrtc wep wmi wnf wpa wpa2 wpa3 wpad wps wsl www xaml xlam xll xlm xls xlsx xml xp xps xts
"""
_AS_WRITTEN = """
ActiveX Adobe AirDrop AirPlay AirPrint Android Apple AppleCare AppleScript AppLocker Appx AutoPlay AutoRun AVIF
Azure Bing BitLocker Bluetooth Chrome Chromium ClickOnce Clipchamp CloudKit COM Copilot Cortana CredSSP dBase
Defender Device_Guard DirectAccess DirectX Edge Entra eSIM Excel FaceTime FileVault FSLogix Gatekeeper Google
Hotmail hotpatch Hyper-V iCloud IDs iframe iMessage Intune iOS iPad iPadOS iPhone iPhones IPsec IPv IPv4 IPv6 iSCSI
iTunes Jamf JavaScript JScript Kerberos Knox LanMan LinkedIn Linux Lotus Mac macOS Microsoft Miracast MSIX NetBIOS
NetBT NTLMv2 OAuth Office OMA OneDrive OneNote OpenType opt-in opt-out Outlook PCs PowerPoint PowerShell PsExec
Quattro QuickTime Samsung SharePoint SIDs Siri Skype Slack SmartScreen sudo SYLK Teams Thunderbolt URIs URLs
VBScript vGPU Visio WebDAV WebGL WhatsApp Wi-Fi Windows WinGet WinINet WinRM WLAN WScript Xbox XProtect Yammer
YouTube
"""
_SHORT_FOR = {
    "authn": "authentication",
    "compatiblity": "compatibility",
    "dotnet": ".NET",
    "extenstions": "extensions",
    "fature": "feature",
    "fdv": "fixed drives",
    "gloabl": "global",
    "lync": "Lync",
    "mcx": "managed client",
    "msaccess": "Access",
    "msft": "Microsoft",
    "mspub": "Publisher",
    "msteams": "Teams",
    "onedrivengsc": "OneDrive",
    "onent": "OneNote",
    "onprem": "on-premises",
    "osv": "system drive",
    "outlk": "Outlook",
    "powerpnt": "PowerPoint",
    "ppt": "PowerPoint",
    "prohit": "prohibit",
    "proj": "Project",
    "pub": "Publisher",
    "rdv": "removable drives",
    "spdesign": "SharePoint Designer",
    "w32time": "Windows Time",
    "wdav": "Defender",
    "win32": "Win32",
    "winproj": "Project",
    "winword": "Word",
    "xladdin": "XL add-in",
}
_PLAIN = """
able about above absolute abuse accelerated accent accept accepted accepting access accessibility accessory account
accounts acknowledged acrobat across action actions activate activated activation active activity adapter adaptive
add adding additional addon address adds adjust admin administrator administrators admins advanced advertisement
advertising after against age agent aggregate ahead alarm alert algorithm algorithms alias align all allow allowed
allowlist allows alt alternate alternative always amount an analysis analytics and animation annotation annotations
anonymous answer anti antispam antitheft antivirus any app appearance append appid applets application applications
apply approval approve approved apps appstore archive archived archives are area argument arguments array article as
ask assertion assessment asset assets assign assigned assist assistance assistant associate associated association
associations assurance at attachment attachments attack attempt attempts attestation attribute attributes audio
audit auditing audits augmented auth authenticate authenticated authentication authenticator authenticode
authorities authority authorization authorized auto autocomplete autodiscover autofill automatic automatically
automation availability available avg avoid away back backed backend background backup backups bad badge badges
balance bandwidth banner bar barcode base based basic batch battery be beacon been before begin behavior behaviors
behind best beta binary biometric biometrics bit bits blank block blocked blocker blocking blocklist body book
bookmarks boost boot booting both bottom bound box branch branding bridge brightness broadcast broker brokered
browser browsing build bulk bundle business but button by bypass bypassed byte bytes cablelabs cables cache cached
caching cadence calculator calendar call calls camera cancel candidate cannot cap capabilities capability capacity
captive capture captured card carrier case cast casting cat catchup category cell cellular center central
certificate certificates chain chained chains change changed channel channels character characters charge charging
chat check checkbox checker checks child children choice choose cipher ciphers circle class classic classification
clean cleanup clear clearing cleartext click client clients clip clipboard clock cloned close closed closing cloud
cluster code codec codes collect collected collection collections colon color colors com combine combined combobox
command commands comment communication communications companion company compare compat compatibility compatible
compile complete complexity compliance compliant component components compress compression computation computer
computers condition conditional conditions conference confidential config configurable configuration configurations
configure configured configures confirm confirmation conflict conform connect connected connection connections
connectivity connector connectors consent consistent console consumed consumer consumers consumption contact
contacts contain contained container containers content context contextual continuation contract control controlled
controls convert cookie cookies copied copies copy correct corrupt corruption cost count counter country coverage
crash crashes create created creating creation creations credential credentials credit criterion critical cross
cryptographic cryptography culture current cursor custom customer customization customize customizing cut cutoff
cycle daemon daily dark dashboard data database datacenter datasource date datetime day days deadline deadlines
debug decrypt decryption dedicated deduplication deep default defaults defense defer deferral deferred defined
definition defragmentation degraded delay delayed delegate delegated delegation delete deleted deletion delivery
demand denied deny department dependency dependent deploy deployment deprecated depth desc description design
designated desktop desktops destination detail detailed details detect detection determine dev developer developers
deviation device devices diagnostic diagnostics dialect dialog dialogbox dictate dictation dictionary diff
difference different digest digital digitally dim direct direction directories directory disable disabled disabling
disallow disallowed disambiguation disc disclosure disconnect discover discovery disk disks dismiss display displays
distributed distribution distro dithering division do dock document documentation documents does domain domains dont
dot double down downgrade download downloaded downloading downloads downtime drag dragging drive driven driver
drivers drives drop dropdown dropped dual dump duplicate duration during dynamic each earlier early easy ebook
ebooks echo edit editor education effective either eject element elements elevate elevated elevation eligibility
eligible email emails embedded emergency emoji employee empty emulation enable enabled enables enabling enclosure
enclosures encoding encrypt encrypted encrypting encryption end ended endpoint endpoints energy enforce enforced
enforcement enforcing engagement engine enhance enhanced enhancements enroll enrolled enrollment ensure enter
enterprise entity entries entropy entry enum enumerate enumeration environment environments ephemeral equal erase
erased err error errors escape escrow established estimate evaluate evaluation even event events every everyone
exact example exceed except exception excess exchange exclude excluded exclusion exclusions exclusive exec
executable execute execution exempt exempted exemptions existing exit expand expanded expansion experience
experiences experimental experimentation expiration expire expired expires expiry explicit exploit exploited explore
explorer export exportable exposure express expression extend extended extensibility extensible extension extensions
external extra extract extraction face facial factor fail failed failover fails failure failures fair fallback
family fast fatal favorite favorites fax feature features federated federation feed feedback feeds fetch few fewer
field fields file filename files filesystem filetype filetypes fill filter filtered filtering find finder finger
fingerprint fingerprints finish firefox firewall firmware first fixed flag flags flash flight flow flush focus
folder folders follow font fonts footer for forbid forbidden force forced forest forget forgotten form format forms
formula forward forwarding found fraction frame frames framework fraud free freeform freeze frequency friend
friendly friends from front frozen full function functionality functions future gallery game gamer games gaming
gateway gender general generate generated generation generator generic geolocation gesture gestures get give given
global go going government grace grade grant granted graph graphics gray grayscale grid groove group groups guard
guardian guest guests guide handle handler handling handoff hang hangs hard hardened hardening hardware has hash
hashed hashes have header headers heading headless headset health heap held hello help hexadecimal hidden hide high
hint hints historical history hold home homepage homescreen hops host hosted hosting hosts hotspot hotspots hour
hourly hours hover how human hybrid hyperlink hyperlinks hypervisor icon identification identified identifier
identities identity idle if ignore ignored ignoring image images immediate immediately immersive impact impersonate
impersonated implementation implicit import imported improvement in inactive inactivity inbound incident include
included includes inclusion incognito incoming incomplete increase independent index indexing indicator indirect
individual industry infected info information infrared inherit inheritance initial initialization initialize
initially initiate initiated initiator injecting injection ink inline inner inplace input insecure insert insider
inspect inspection install installation installations installed installer instance instances instant instead
instructions integer integration integrity intel intelligence intent interactive interception interests interface
interfaces internal internet interrupt interval intervals into intranet intrusive invalid invitation invite
invocation invoke is isolated isolation issue issued issuer item items its jailbreak jailbroken java job join joined
joining journal jump just keep keeping kernel key keyboard keychain keypad keys keystroke keystrokes kill kiosk
kiosks known label labels lan language laptop large last latency later latest launch launched launching layer lead
learn learning lease leave legacy length less level library licence license licensing lid life lifetime light limit
limited limiter limits line lines linking links list listbox listener lists lite live load loader loading local
locale localhost localized locate location locations lock lockdown locked locker lockout lockscreen log logged
logger logging login logo logoff logon logons logs long look lookup loss low lower lowercase machine macro macros
made mail mails main mainstream maintenance major make malformed malicious malware manage managed management manager
managing mandatory manifest manifests manual manually mapper mapping marked markup mask master match matching math
max maximum may mean measure mechanism media medium meet meeting members membership memo memory mention menu merge
merged message messages messaging messenger meta metadata meter metered method microphone migrate migration min mini
minimize minimum minor mins minutes mirror mirrored mirroring misc miscellaneous mismatch missing mitigate
mitigation mitigations mix mixed mobile mobiles mobility mode model moderate modification modified modify module
modules moment monitor monitoring monthly months more most motion mount mounted mouse move moved movie moving msg
multi multicast multicasting multiplayer multiple mute my name named names namespace namespaces narrator native
navigate navigations near nearby negotiate negotiation neighbor neighbors nested net netlogon network networking
networks never new newer news next nickname night no node non none nonexportable nonremovable normal not note
notebook notebooks notepad notes notification notifications notify now ntuser null num number numbers numeric
obfuscated object objects occur of off offboarding offer offers offline offload offset often old on onboarding once
one online only opaque open opened opening operating operation operations operator opt optimization optimized
optional options or oracle order ordering organization organizational orientation origin original originating
origins other out outbound outdated outgoing outside over overlap overlay override overrides overwrite overwritten
own owned owner owners ownership package packages packet packets pad page pages paint paired pairing pairs panel
panes paper parameter parameters parent parental parents parse part partial participant participants particular
partition parts party pass passcode passive passkey passkeys passphrase passport passthrough password passwordless
passwords past paste patch path paths pattern patterns pause paused payload payment payments peak peer peers penalty
pending per percent percentage performance period permission permissions permit permitted persist persistence
persistent personal personalization personalized phishing phone photo photos physical picker picture pictures pilot
ping pinned pinning pipes placement plain plaintext plan plane platform platforms play playback player playing
playlist please plugged plugin plugins podcast point points policies policy poll polling pool pooled pop popular
popup popups port portable portal portals position positive possible post postpone postscript potential potentially
power pre predict prediction predictive preempt preempted prefer preference preferences prefetch prefetching prefix
preinstalled prelaunch preloading prem premises premium prepare prerender presence present presentations preserve
preserved preserving presign press prevalence prevent prevention preview previous price primary principal print
printed printer printers printing prior prioritize priority privacy private privilege privileged privileges
proactive probe probing problem procedure process processes product production products profile profiles profiling
program programmatic programs progress prohibit prohibited project projection promote promotion prompt prompted
prompting prompts proof proofing properties property protect protected protection protocol protocols provide
provided provider providers provision provisioning proxies proximity proxy public publisher publishing pull purchase
purchases purge purpose push put qualified quality quarantine queries query question queued quick quiet quit quota
radio raise random randomize range ranges rank ransom ransomware rapid rate rating ratings raw reach read reader
readers readonly ready real realtime reason reauthenticate reauthentication reboot rebooting recall receive received
receiver recent recently recognition recommendation recommendations recommended reconnect record recorder recording
recordings recover recovery recurring recycle red redirect redirected redirection redirects reduce reduction refer
reference references refresh refs refuse region regional regions register registered registers registration
registrations registry regular reinstall reject rejected rejoin related relationship relative relaunch relax relaxed
relay release reliability reliant reload reloading remediate remediation remember remind reminder reminders remote
remotely removable removal remove removed removing rename renames render rendered renderer rendering renders renew
renewal reopen repair replace replaced replacement replica replication reply reported reporter reporting reports
repository representative republish reputation request requested requester requests require required requirement
requires rescan reserved reset resets resilience resilient resize resolution resolve resolved resolving resource
resources response responses rest restart restarts restore restored restrict restricted restricting restriction
restrictions restrictive result results resume retain retained retention retries retrieval retrieve retrieving retry
return returned reuse reveal revert review revocation revoke revoked reward rewards rich rid right rights ring
ringtone risk risky roamed roaming role roles roll rollback rolled rollout root rotate rotated rotating rotation
round route router routes routing row rule rules run running runs runtime safari safe safesearch safety same sample
samples sandbox sandboxed sanitize save saved saver saves saving scale scan scanner scanning scans scareware
schedule scheduled scheduler scheduling schema schemes science scope scopes score screen screencapture screens
screensaver screenshot script scripted scripting scriptlets scripts scroll seamless search searchbox second
secondary seconds secret secrets section sector secure secured security seed seen segment segmented select selected
selection selective self send sender sending sends sense sensitive sensitivity sensor sensors separate separated
separator sequence serial series server servers service services session sessions set sets setting settings setup
several severe severity shadow shape share shared shares sharing sheet sheets shelf shell shield shift shopping
short shortcut shortcuts should show shown shows shutdown side sidebar sideload sideloading sign signal signals
signature signatures signed signin signing signon signout silent silently similar simple simplified since single
site sites size sketch skip slash sleep sleeping slide slideshow slot slots slow small smart smartcard smartcards
snapshot sniffing snooze social sockets soft softkeys software solicited solitaire solution solutions some sort
sound sounds source sources space spaces spam span speaker special specific specified specify speculative speech
speed spell spellcheck spellchecker spelling split sponsored spoofing spooler spooling spot spotlight spreadsheets
spyware squatting stack staged staging stale stamp standalone standard standby star start started starting startpage
starts startup state static statistics stats status stay std stealing stealth step steps sticky stop stopped storage
store stored stores storing strategy stream streaming strength strict string strings strong structured style sub
subdomain subdomains subfolder subfolders subject subjects submission submit subnet subscription subscriptions
subset substitute subsystem success suffix suggest suggested suggestion suggestions suite summary superfetch
supervised supplemental supplicant supply support supported suppress suppression surface survey suspend suspended
swap swipe swiping switch switcher switching symbol symbolic symmetric sync synced synchronization synchronize
synchronous syncing syntax system systems systemwide tab table tablet tabs tag tagged tags tailored tailoring take
tamper target task taskbar tasks taskview team technical technician technologies technology telemetry telephony tell
templates temporarily temporary tenant tenants terminal termination terms test testing tests tethering text textbox
than that the them theme themes then these they third thirty this thread threat threats three threshold through
thumbnail thumbnails ticket tile tiles time timed timeline timeout timer times timestamp timestamps timezone timing
tips title to toasts today toggle token tone toolbar tools tooltip top topic total touch touchpad trace tracing
track trackers tracking traffic transcription transfer transfers transition transitional translate translation
translations transparency transparent transport trash tray tree trial trigger triggers troubleshooting trust trusted
trusts truststore tunnel tunneling tunnels turn tutorial two type types typesetting typing typo typosquatting
unapproved unattended unauthenticated unblock uncommon uncompressed under undo unencrypted unenrollment unexpected
unicode unified uninstall unique unit universal unknown unless unload unlock unlocked unlocks unmanaged unmapped
unmetered unpaired unpin unpinned unprotected unrestricted unsafe unsecure unsecured unset unsigned unsolicited
unsupported untrusted unused unverified up update updated updater updates updating upgrade upgraded upgrades upload
uploaded uploading uploads upon upper uppercase usage use used user userid username usernames users uses using
utility valid validate validated validation value values variable variant variants vault vendor verbose verification
verified verify verifying version versions vertical via video videos view viewer views violation virtual
virtualization virtualize virtualized virus viruses visibility visible visit visited visits visual visualization
voice volume volumes vulnerable wait waiting wake wakes wakeup wall wallet wallpaper wallpapers ware warn warned
warning warnings was watch watermark way weak weather web webcam webcontent webmail webpages websites webview week
weekly weeks weight welcome well when where whether which white whitelist whitelisted who wide widget widgets width
will window wipe wireless with within without wizard wizards word work workbooks workflow workgroup workplace works
worksheets workspace workstation world would wrap write writer writes writing wrong year years yes you your zero zip
zone zones
"""


def _as_typed(name: str) -> str:
    return "".join(letter for letter in name if letter.isalnum()).lower()


# How a word is written that is not written in small letters.
WRITTEN: Mapping[str, str] = MappingProxyType(
    {word: word.upper() for word in _UPPER.split()}
    | {_as_typed(name): name.replace("_", " ") for name in _AS_WRITTEN.split()}
    | _SHORT_FOR
)
WORDS = frozenset(_PLAIN.split()) | WRITTEN.keys()
