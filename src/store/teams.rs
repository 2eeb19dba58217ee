//! Teams, who is in them and why, and the groups that they follow.
//!
//! Somebody can be in a team for several reasons, each a row: by hand (source and group empty), and for each group of a
//! provider or directory. The strongest role counts.

use super::link::{Question, Row};
use super::people::SortKey;
use super::words::sort_name;
use super::{Change, Position, Reading, StoreError, UserRow};
use crate::clock::UnixTime;
use crate::person::{Role, UserId};

/// A row of `teams`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TeamRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) folded: String,
    pub(crate) created: UnixTime,
    pub(crate) version: i64,
}

/// A row of `team_members`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberRow {
    pub(crate) team: String,
    pub(crate) user: UserId,
    /// Empty: by hand. Else the issuer whose group it is.
    pub(crate) source: String,
    pub(crate) group: String,
    pub(crate) role: Role,
}

/// A row of `team_groups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkRow {
    pub(crate) team: String,
    pub(crate) group: String,
    pub(crate) role: Role,
}

impl TeamRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            folded: row.get("name_folded")?,
            created: UnixTime(row.get("created")?),
            version: row.get("version")?,
        })
    }
}

impl MemberRow {
    pub(crate) fn by_hand(&self) -> bool {
        self.source.is_empty()
    }

    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            team: row.get("team_id")?,
            user: UserId::new(row.get("user_id")?),
            source: row.get("source")?,
            group: row.get("group_name")?,
            role: role(row)?,
        })
    }
}

impl LinkRow {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            team: row.get("team_id")?,
            group: row.get("group_name")?,
            role: role(row)?,
        })
    }
}

fn role(row: &Row) -> Result<Role, StoreError> {
    row.get::<&str>("role")?
        .parse()
        .map_err(|_| StoreError::Unreadable("a role in a team that this program does not know".to_owned()))
}

impl Reading {
    pub(crate) async fn team(&mut self, id: &str) -> Result<Option<TeamRow>, StoreError> {
        let row = self.link.row("SELECT * FROM teams WHERE id = $1", &[id.into()]).await?;
        row.as_ref().map(TeamRow::read).transpose()
    }

    pub(crate) async fn team_by_name(&mut self, folded: &str) -> Result<Option<TeamRow>, StoreError> {
        let row = self
            .link
            .row("SELECT * FROM teams WHERE name_folded = $1", &[folded.into()])
            .await?;
        row.as_ref().map(TeamRow::read).transpose()
    }

    /// Teams by name with the number of their members; of one person, or all.
    pub(crate) async fn teams(
        &mut self,
        of: Option<&UserId>,
        search: &str,
        from: Option<&Position>,
        limit: i64,
    ) -> Result<Vec<(TeamRow, i64)>, StoreError> {
        let pattern = format!("%{}%", escaped(search));
        let (backwards, key) = match from {
            Some(Position {
                key: SortKey::Text(text),
                backwards,
                ..
            }) => (*backwards, Some(text.as_str())),
            _ => (false, None),
        };
        let mut question = Question::default();
        question.say(
            "SELECT teams.*, (SELECT COUNT(DISTINCT user_id) FROM team_members WHERE team_id = teams.id) AS members \
             FROM teams WHERE 1 = 1",
        );
        if !search.is_empty() {
            question
                .say(" AND name_folded LIKE ")
                .value(pattern.as_str())
                .say(" ESCAPE '\\'");
        }
        if let Some(user) = of {
            question
                .say(" AND id IN (SELECT team_id FROM team_members WHERE user_id = ")
                .value(user.as_str())
                .say(")");
        }
        if let Some(key) = key {
            question
                .say(if backwards {
                    " AND name_folded < "
                } else {
                    " AND name_folded > "
                })
                .value(key);
        }
        question
            .say(if backwards {
                " ORDER BY name_folded DESC LIMIT "
            } else {
                " ORDER BY name_folded LIMIT "
            })
            .value(limit);
        let rows = self.link.answer(question).await?;
        let mut teams: Vec<_> = rows
            .iter()
            .map(|row| Ok((TeamRow::read(row)?, row.get("members")?)))
            .collect::<Result<_, StoreError>>()?;
        if backwards {
            teams.reverse();
        }
        Ok(teams)
    }

    /// How many are in a team.
    pub(crate) async fn count_members(&mut self, team: &str) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(DISTINCT user_id) AS n FROM team_members WHERE team_id = $1";
        self.link.one(sql, &[team.into()]).await?.get("n")
    }

    /// How many are in a team by this group alone.
    pub(crate) async fn count_by_group_alone(&mut self, team: &str, group: &str) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(DISTINCT user_id) AS n FROM team_members AS hit \
                   WHERE team_id = $1 AND group_name = $2 AND source <> '' AND NOT EXISTS (SELECT 1 FROM team_members \
                   WHERE team_id = $1 AND user_id = hit.user_id AND (source = '' OR group_name <> $2))";
        self.link.one(sql, &[team.into(), group.into()]).await?.get("n")
    }

    /// Why somebody is in teams, with the teams' names, by name.
    pub(crate) async fn memberships(&mut self, user: &UserId) -> Result<Vec<(TeamRow, MemberRow)>, StoreError> {
        let sql = "SELECT teams.*, team_id, user_id, source, group_name, role FROM team_members \
                   JOIN teams ON teams.id = team_members.team_id WHERE user_id = $1 \
                   ORDER BY name_folded, source, group_name";
        let rows = self.link.rows(sql, &[user.as_str().into()]).await?;
        rows.iter()
            .map(|row| Ok((TeamRow::read(row)?, MemberRow::read(row)?)))
            .collect()
    }

    /// What apps are told: the names of somebody's teams with the strongest role in each, by name.
    pub(crate) async fn teams_of(&mut self, user: &UserId) -> Result<Vec<(String, Role)>, StoreError> {
        let sql = "SELECT teams.name, team_members.role FROM team_members \
                   JOIN teams ON teams.id = team_members.team_id WHERE user_id = $1 ORDER BY teams.name_folded";
        let mut teams: Vec<(String, Role)> = Vec::new();
        for row in &self.link.rows(sql, &[user.as_str().into()]).await? {
            let (name, role): (String, Role) = (row.get("name")?, role(row)?);
            match teams.last_mut() {
                Some((last, strongest)) if *last == name => {
                    if role.strength() > strongest.strength() {
                        *strongest = role;
                    }
                }
                _ => teams.push((name, role)),
            }
        }
        Ok(teams)
    }

    /// Why one person is in one team; empty if they are not.
    pub(crate) async fn membership(&mut self, team: &str, user: &UserId) -> Result<Vec<MemberRow>, StoreError> {
        let sql = "SELECT * FROM team_members WHERE team_id = $1 AND user_id = $2 ORDER BY source, group_name";
        let rows = self.link.rows(sql, &[team.into(), user.as_str().into()]).await?;
        rows.iter().map(MemberRow::read).collect()
    }

    /// One page of a team's people, by name.
    pub(crate) async fn team_people(
        &mut self,
        team: &str,
        from: Option<&Position>,
        limit: i64,
    ) -> Result<Vec<UserRow>, StoreError> {
        let (backwards, key) = match from {
            Some(Position {
                key: SortKey::Text(text),
                backwards,
                id,
            }) => (*backwards, Some((text.as_str(), id.as_str()))),
            _ => (false, None),
        };
        let mut question = Question::default();
        question
            .say("SELECT users.* FROM (SELECT DISTINCT user_id FROM team_members WHERE team_id = ")
            .value(team)
            .say(") AS hit CROSS JOIN users WHERE users.id = hit.user_id");
        if let Some((name, id)) = key {
            question
                .say(if backwards {
                    " AND (sort_name, id) < ("
                } else {
                    " AND (sort_name, id) > ("
                })
                .value(name)
                .say(", ")
                .value(id)
                .say(")");
        }
        question
            .say(if backwards {
                " ORDER BY sort_name DESC, id DESC LIMIT "
            } else {
                " ORDER BY sort_name, id LIMIT "
            })
            .value(limit);
        let rows = self.link.answer(question).await?;
        let mut people: Vec<UserRow> = rows.iter().map(UserRow::read).collect::<Result<_, _>>()?;
        if backwards {
            people.reverse();
        }
        Ok(people)
    }

    /// The groups that a team follows.
    pub(crate) async fn links_of(&mut self, team: &str) -> Result<Vec<LinkRow>, StoreError> {
        let sql = "SELECT * FROM team_groups WHERE team_id = $1 ORDER BY group_name";
        let rows = self.link.rows(sql, &[team.into()]).await?;
        rows.iter().map(LinkRow::read).collect()
    }

    /// All links to these groups.
    pub(crate) async fn links_to(&mut self, groups: &[String]) -> Result<Vec<LinkRow>, StoreError> {
        let mut links = Vec::new();
        for piece in groups.chunks(200) {
            let mut question = Question::default();
            question.say("SELECT * FROM team_groups WHERE group_name IN (");
            for (at, group) in piece.iter().enumerate() {
                if at > 0 {
                    question.say(", ");
                }
                question.value(group.as_str());
            }
            question.say(") ORDER BY team_id, group_name");
            for row in &self.link.answer(question).await? {
                links.push(LinkRow::read(row)?);
            }
        }
        Ok(links)
    }
}

/// What stands for itself in LIKE.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The place of a person in a team's list.
pub(crate) fn place_in_team(user: &UserRow, backwards: bool) -> Position {
    Position {
        key: SortKey::Text(sort_name(user)),
        id: user.id.to_string(),
        backwards,
    }
}

impl Change {
    pub(crate) async fn insert_team(&mut self, team: &TeamRow) -> Result<(), StoreError> {
        let values = [
            team.id.as_str().into(),
            team.name.as_str().into(),
            team.folded.as_str().into(),
            team.created.0.into(),
            team.version.into(),
        ];
        let sql = "INSERT INTO teams (id, name, name_folded, created, version) VALUES ($1, $2, $3, $4, $5)";
        self.link.execute(sql, &values).await.map(drop)
    }

    /// Its name; raises the version.
    pub(crate) async fn rename_team(&mut self, id: &str, name: &str, folded: &str) -> Result<(), StoreError> {
        let sql = "UPDATE teams SET name = $2, name_folded = $3, version = version + 1 WHERE id = $1";
        let values = [id.into(), name.into(), folded.into()];
        self.link.execute(sql, &values).await.map(drop)
    }

    /// An admin changed something of it.
    pub(crate) async fn touch_team(&mut self, id: &str) -> Result<(), StoreError> {
        self.link
            .execute("UPDATE teams SET version = version + 1 WHERE id = $1", &[id.into()])
            .await
            .map(drop)
    }

    /// With its members and links.
    pub(crate) async fn delete_team(&mut self, id: &str) -> Result<(), StoreError> {
        self.link
            .execute("DELETE FROM teams WHERE id = $1", &[id.into()])
            .await
            .map(drop)
    }

    /// A reason to be in a team, new or with another role.
    pub(crate) async fn put_member(&mut self, row: &MemberRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO team_members (team_id, user_id, source, group_name, role, since) \
                   VALUES ($1, $2, $3, $4, $5, $6) \
                   ON CONFLICT (team_id, user_id, source, group_name) DO UPDATE SET role = $5";
        let values = [
            row.team.as_str().into(),
            row.user.as_str().into(),
            row.source.as_str().into(),
            row.group.as_str().into(),
            row.role.as_str().into(),
            self.now.0.into(),
        ];
        self.link.execute(sql, &values).await.map(drop)
    }

    pub(crate) async fn delete_member(&mut self, row: &MemberRow) -> Result<(), StoreError> {
        let sql = "DELETE FROM team_members WHERE team_id = $1 AND user_id = $2 AND source = $3 AND group_name = $4";
        let values = [
            row.team.as_str().into(),
            row.user.as_str().into(),
            row.source.as_str().into(),
            row.group.as_str().into(),
        ];
        self.link.execute(sql, &values).await.map(drop)
    }

    /// The groups of a source no longer count for somebody.
    pub(crate) async fn delete_members_from(&mut self, user: &UserId, source: &str) -> Result<(), StoreError> {
        let sql = "DELETE FROM team_members WHERE user_id = $1 AND source = $2";
        let values = [user.as_str().into(), source.into()];
        self.link.execute(sql, &values).await.map(drop)
    }

    /// A team's link to a group, new or with another role, which counts at once for those who are in by it.
    pub(crate) async fn put_link(&mut self, link: &LinkRow) -> Result<(), StoreError> {
        let sql = "INSERT INTO team_groups (team_id, group_name, role) VALUES ($1, $2, $3) \
                   ON CONFLICT (team_id, group_name) DO UPDATE SET role = $3";
        let values = [
            link.team.as_str().into(),
            link.group.as_str().into(),
            link.role.as_str().into(),
        ];
        self.link.execute(sql, &values).await?;
        let sql = "UPDATE team_members SET role = $3 WHERE team_id = $1 AND group_name = $2 AND source <> ''";
        self.link.execute(sql, &values).await.map(drop)
    }

    /// Takes a link away, with the memberships that came by it.
    pub(crate) async fn delete_link(&mut self, team: &str, group: &str) -> Result<bool, StoreError> {
        let values = [team.into(), group.into()];
        let sql = "DELETE FROM team_members WHERE team_id = $1 AND group_name = $2 AND source <> ''";
        self.link.execute(sql, &values).await?;
        let sql = "DELETE FROM team_groups WHERE team_id = $1 AND group_name = $2";
        Ok(self.link.execute(sql, &values).await? > 0)
    }
}
