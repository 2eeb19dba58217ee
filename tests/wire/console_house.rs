//! A gateway with people and teams, and everything that can be done in its console.

use std::fmt::Write as _;

use vestibule::clock::UnixTime;
use vestibule::config::EntryRules;
use vestibule::directory::{self, Action, Actor, Arrival, AuditQuery, ClaimedEmail, Invitation, PeopleQuery, Refused};
use vestibule::identity;
use vestibule::person::{EmailAddress, Role};
use vestibule::session;
use vestibule::store::Store;
use vestibule::telemetry::audit::Kind;

use crate::console::encoded;
use crate::support::Wire;

pub type Fields = Vec<(&'static str, String)>;

/// Something in the console that an action is.
#[derive(Debug)]
pub enum Way {
    Page(String),
    Form(String, Fields),
}

/// A page that asks once more, with this query, and its form.
fn both(path: &str, query: &str, fields: Fields) -> Vec<Way> {
    let sign = if query.is_empty() { "" } else { "?" };
    vec![
        Way::Page(format!("{path}{sign}{query}")),
        Way::Form(path.to_owned(), fields),
    ]
}

/// A gateway with people and teams: Ada is admin, Tess is admin of the team Night, Eve is whom things are done to.
pub struct House {
    pub wire: Wire,
    pub store: Store,
    pub eve: String,
    pub invited: String,
    pub engines: String,
    pub refused: String,
}

impl House {
    pub fn start() -> Self {
        let wire = Wire::start();
        let store = wire.run(Store::open(&wire.database())).unwrap();
        for email in [
            "bob@example.com",
            "vic@example.com",
            "tess@example.com",
            "eve@example.com",
        ] {
            wire.sign_in(email);
        }
        let now = UnixTime::now();
        let shell = Actor::shell();
        let (eve, invited, engines, refused) = wire.run(async {
            directory::set_role(&store, &shell, "vic@example.com", Role::Viewer, None, now)
                .await
                .unwrap();
            let engines = directory::create_team(&store, &shell, "Engines", now).await.unwrap();
            let night = directory::create_team(&store, &shell, "Night", now).await.unwrap();
            directory::create_team(&store, &shell, "Spare", now).await.unwrap();
            for (team, who, role) in [
                (&engines, "eve@example.com", Role::Member),
                (&night, "tess@example.com", Role::Admin),
            ] {
                directory::set_member(&store, &shell, team.id.as_str(), who, role, None, now)
                    .await
                    .unwrap();
            }
            let second = ("https://other.example", "eve-there");
            let eve = directory::link(&store, &shell, "eve@example.com", second.0, second.1, now)
                .await
                .unwrap();
            let invitation = Invitation {
                email: EmailAddress::parse("ivy@example.com").unwrap(),
                role: Role::Member,
                teams: Vec::new(),
                expires: None,
            };
            let invited = directory::invite(&store, &shell, &[invitation], true, now)
                .await
                .unwrap();
            let rita = Arrival {
                issuer: "http://127.0.0.1:9".into(),
                subject: "rita".into(),
                email: ClaimedEmail::Verified(EmailAddress::parse("rita@example.com").unwrap()),
                username: Some("rita".into()),
                name: Some("Rita".into()),
                groups: Ok(Vec::new()),
                hosted_domain: None,
            };
            directory::turn_away(&store, &Refused::NotInvited, &rita, &Actor::system(), now).await;
            let refused = directory::refused(&store, &shell, 9).await.unwrap().rows;
            (
                eve.user.id.to_string(),
                invited[0].id.to_string(),
                engines.id.to_string(),
                refused[0].id.clone(),
            )
        });
        Self {
            wire,
            store,
            eve,
            invited,
            engines,
            refused,
        }
    }

    /// Everything that an action could change, as text.
    pub fn fingerprint(&self) -> String {
        let shell = Actor::shell();
        let now = UnixTime::now();
        self.wire.run(async {
            let mut text = String::new();
            let everybody = PeopleQuery {
                limit: 500,
                ..PeopleQuery::default()
            };
            for user in directory::people(&self.store, &shell, &everybody).await.unwrap().rows {
                let person = directory::person(&self.store, &shell, user.id.as_str()).await.unwrap();
                writeln!(text, "{person:?}").unwrap();
            }
            for team in directory::teams(&self.store, &shell, "", None, 500).await.unwrap().rows {
                let team = directory::team(&self.store, &shell, team.id.as_str(), None, 500)
                    .await
                    .unwrap();
                writeln!(text, "{:?} {:?} {:?}", team.team, team.members.rows, team.groups).unwrap();
            }
            for arrival in directory::refused(&self.store, &shell, 99).await.unwrap().rows {
                writeln!(text, "{arrival:?}").unwrap();
            }
            for key in identity::list(&self.store, now).await.unwrap() {
                writeln!(text, "{key:?}").unwrap();
            }
            text
        })
    }

    pub fn sids(&self) -> Vec<String> {
        let listed = self
            .wire
            .run(session::list(&self.store, None, UnixTime::now()))
            .unwrap();
        let mut sids: Vec<String> = listed.into_iter().map(|listed| listed.sid).collect();
        sids.sort();
        sids
    }

    pub fn versions(&self) -> (String, String) {
        let shell = Actor::shell();
        self.wire.run(async {
            let eve = directory::person(&self.store, &shell, &self.eve).await.unwrap();
            let engines = directory::team(&self.store, &shell, &self.engines, None, 1)
                .await
                .unwrap();
            (eve.user.version.0.to_string(), engines.team.version.0.to_string())
        })
    }

    /// What of the console this action is: a new one does not compile before it stands here.
    #[expect(clippy::too_many_lines, reason = "some lines an action")]
    pub fn ways(&self, action: Action) -> Vec<Way> {
        let (eve_version, engines_version) = self.versions();
        let (eve, engines) = (format!("/people/{}", self.eve), format!("/teams/{}", self.engines));
        let invited = format!("/people/{}", self.invited);
        let text = str::to_owned;
        let version = ("version", eve_version);
        let team_version = ("version", engines_version);
        let other = "issuer=https%3A%2F%2Fother.example&subject=eve-there";
        let page = |path: &str| Way::Page(path.to_owned());
        let form = |path: &str, fields: &[(&'static str, String)]| Way::Form(path.to_owned(), fields.to_vec());
        match action {
            Action::SeePeople => vec![
                page("/people"),
                page("/people?q=e&sort=seen"),
                page("/people?team=Engines"),
            ],
            Action::SeePerson | Action::SeeSessions => vec![page(&eve)],
            Action::SetRole => vec![form(&format!("{eve}/role"), &[("role", text("admin")), version])],
            Action::DeactivatePerson => both(&format!("{eve}/deactivate"), "", vec![version]),
            Action::ActivatePerson => both(&format!("{eve}/activate"), "", vec![version]),
            Action::RemovePerson => both(&format!("{eve}/remove"), "", vec![version]),
            Action::LinkIdentity => vec![form(
                &format!("{eve}/link"),
                &[("issuer", text("https://third.example")), ("subject", text("x"))],
            )],
            Action::UnlinkIdentity => both(
                &format!("{eve}/unlink"),
                other,
                vec![
                    ("issuer", text("https://other.example")),
                    ("subject", text("eve-there")),
                ],
            ),
            Action::Invite => both(
                "/people/add",
                "",
                vec![
                    ("step", text("add")),
                    ("people", text("new@example.com")),
                    ("role", text("admin")),
                ],
            ),
            Action::Withdraw => both(&format!("{invited}/withdraw"), "", vec![]),
            Action::SeeRefused => vec![page("/waiting")],
            Action::Approve => vec![form(
                "/waiting/approve",
                &[("id", self.refused.clone()), ("role", text("admin"))],
            )],
            Action::DismissRefused => vec![form("/waiting/dismiss", &[("id", self.refused.clone())])],
            // Everybody has the page; who may not see all teams sees their own there.
            Action::SeeTeams => vec![],
            Action::SeeTeam => vec![page(&engines)],
            Action::CreateTeam => vec![form("/teams", &[("name", text("Another"))])],
            Action::RenameTeam => vec![form(
                &format!("{engines}/rename"),
                &[("name", text("Renamed")), team_version],
            )],
            Action::DeleteTeam => both(&format!("{engines}/delete"), "", vec![team_version]),
            Action::SetMember => vec![
                form(
                    &format!("{engines}/members"),
                    &[
                        ("who", text("bob@example.com")),
                        ("role", text("admin")),
                        ("new", text("1")),
                    ],
                ),
                form(
                    &format!("{eve}/join-team"),
                    &[("team", text("Spare")), ("role", text("viewer"))],
                ),
            ],
            Action::RemoveMember => {
                let who = format!("who={}", self.eve);
                let mut ways = both(&format!("{engines}/take-out"), &who, vec![("who", self.eve.clone())]);
                let team = format!("team={}", self.engines);
                ways.extend(both(
                    &format!("{eve}/leave-team"),
                    &team,
                    vec![("team", text("Engines"))],
                ));
                ways
            }
            Action::FollowGroup => vec![form(
                &format!("{engines}/follow"),
                &[("group", text("all")), ("role", text("admin")), team_version],
            )],
            Action::UnfollowGroup => both(
                &format!("{engines}/unfollow"),
                "group=Engines",
                vec![("group", text("Engines")), team_version],
            ),
            Action::SeeAudit => vec![page("/audit"), page("/audit/events.csv"), page("/audit/events.jsonl")],
            Action::EndSessions => {
                let mut ways = both(&format!("{eve}/end-sessions"), "", vec![]);
                let sid = self.sid_of("eve@example.com");
                ways.push(form(&format!("{eve}/end-session"), &[("sid", sid)]));
                ways
            }
            Action::SeeKeys => vec![page("/keys")],
            Action::RotateKeys => both("/keys/rotate", "", vec![("when", text("now"))]),
            Action::SeeSetUp => vec![page("/set-up"), form("/set-up/check", &[])],
        }
    }

    /// Everything that an admin can do by a form: path and fields.
    pub fn forms(&self) -> Vec<(String, Fields)> {
        let ways = Action::all().flat_map(|action| self.ways(action));
        ways.filter_map(|way| match way {
            Way::Form(path, fields) => Some((path, fields)),
            Way::Page(_) => None,
        })
        .collect()
    }

    /// Every page that is for admins alone, or for admins of a team.
    pub fn pages(&self) -> Vec<String> {
        let ways = Action::all().flat_map(|action| self.ways(action));
        ways.filter_map(|way| match way {
            Way::Page(path) => Some(path),
            Way::Form(..) => None,
        })
        .collect()
    }

    pub fn sid_of(&self, email: &str) -> String {
        let listed = self
            .wire
            .run(session::list(&self.store, None, UnixTime::now()))
            .unwrap();
        let of = listed.into_iter().find(|listed| listed.email.as_deref() == Some(email));
        of.unwrap().sid
    }

    pub fn denials(&self) -> usize {
        let query = AuditQuery {
            event: Some(Kind::Denied),
            limit: 500,
            ..AuditQuery::default()
        };
        let denied = self.wire.run(directory::audit(&self.store, &Actor::shell(), &query));
        denied.unwrap().rows.len()
    }
}

pub fn body(token: &str, fields: &[(&'static str, String)]) -> String {
    let mut all = vec![("token", token)];
    all.extend(fields.iter().map(|(name, value)| (*name, value.as_str())));
    encoded(&all)
}

/// Whoever comes gets in.
pub fn open() -> EntryRules {
    EntryRules {
        provisioning: true,
        initial_admins: Vec::new(),
        default_role: Role::Member,
        allowed_domains: None,
        allowed_groups: None,
        names_follow: false,
        email_needed: true,
        follow_group_claims: false,
        follow_ldap_groups: false,
    }
}
