//! A condition, packed: Cedar's syntax tree without places, with entity types by number.
//!
//! Cedar can write its policies as JSON or, built with a compiler for it, as protocol buffers. Reading either checks every name
//! with regular expressions that each fresh sandbox would have to compile.

use cedar_policy_core::{
    ast::{BinaryOp, Expr, ExprKind, Literal, Pattern, PatternElem, UnaryOp, Var},
    pst::{NonEmpty, SmolStr},
};
use serde::{Deserialize, Serialize};

use crate::entity::{Type, Types, Uid};

/// An expression.
#[derive(Serialize, Deserialize)]
pub enum Tree {
    Bool(bool),
    Long(i64),
    Text(String),
    Entity(Uid),
    Var(Var),
    If(Box<[Self; 3]>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    Unary(#[serde(with = "Unary")] UnaryOp, Box<Self>),
    Binary(#[serde(with = "Binary")] BinaryOp, Box<[Self; 2]>),
    Get(Box<Self>, String),
    Has(Box<Self>, String),
    /// `has a.b.c`, at least one name.
    HasPath(Box<Self>, Vec<String>),
    /// What stands between the stars.
    Like(Box<Self>, Vec<String>),
    Is(Box<Self>, Type),
    Set(Vec<Self>),
    Record(Vec<(String, Self)>),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "UnaryOp")]
enum Unary {
    Not,
    Neg,
    IsEmpty,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "BinaryOp")]
enum Binary {
    Eq,
    Less,
    LessEq,
    Add,
    Sub,
    Mul,
    In,
    Contains,
    ContainsAll,
    ContainsAny,
    GetTag,
    HasTag,
}

impl Tree {
    /// Packs. An `Err` names what no text may have.
    pub fn of(expr: &Expr) -> Result<Self, String> {
        let boxed = |expr: &Expr| Self::of(expr).map(Box::new);
        let pair = |left: &Expr, right: &Expr| Ok::<_, String>(Box::new([Self::of(left)?, Self::of(right)?]));
        let text = |text: &SmolStr| text.as_str().to_owned();
        Ok(match expr.expr_kind() {
            ExprKind::Lit(Literal::Bool(value)) => Self::Bool(*value),
            ExprKind::Lit(Literal::Long(value)) => Self::Long(*value),
            ExprKind::Lit(Literal::String(value)) => Self::Text(text(value)),
            ExprKind::Lit(Literal::EntityUID(uid)) => Self::Entity(Uid::from_cedar(uid)?),
            ExprKind::Var(var) => Self::Var(*var),
            ExprKind::If { test_expr, then_expr, else_expr } => {
                Self::If(Box::new([Self::of(test_expr)?, Self::of(then_expr)?, Self::of(else_expr)?]))
            }
            ExprKind::And { left, right } => Self::And(pair(left, right)?),
            ExprKind::Or { left, right } => Self::Or(pair(left, right)?),
            ExprKind::UnaryApp { op, arg } => Self::Unary(*op, boxed(arg)?),
            ExprKind::BinaryApp { op, arg1, arg2 } => Self::Binary(*op, pair(arg1, arg2)?),
            ExprKind::GetAttr { expr, attr } => Self::Get(boxed(expr)?, text(attr)),
            ExprKind::HasAttr { expr, attr } => Self::Has(boxed(expr)?, text(attr)),
            ExprKind::ExtHasAttr { expr, attrs } => Self::HasPath(boxed(expr)?, attrs.iter().map(text).collect()),
            ExprKind::Like { expr, pattern } => Self::Like(boxed(expr)?, pieces(pattern)),
            ExprKind::Is { expr, entity_type } => Self::Is(boxed(expr)?, Type::of(entity_type)?),
            ExprKind::Set(items) => Self::Set(items.iter().map(Self::of).collect::<Result<_, _>>()?),
            ExprKind::Record(fields) => Self::Record(
                fields.iter().map(|(name, value)| Ok((text(name), Self::of(value)?))).collect::<Result<_, String>>()?,
            ),
            ExprKind::ExtensionFunctionApp { fn_name, .. } => {
                return Err(format!(
                    "there is no {fn_name} here: a request has no dates, decimal numbers or addresses"
                ));
            }
            ExprKind::Slot(_) | ExprKind::Unknown(_) => return Err(format!("{expr} can't be packed")),
        })
    }

    /// Unpacks.
    pub fn cedar(self, types: &Types) -> Result<Expr, String> {
        let one = |tree: Box<Self>| tree.cedar(types);
        let two = |trees: Box<[Self; 2]>| {
            let [left, right] = *trees;
            Ok::<_, String>((left.cedar(types)?, right.cedar(types)?))
        };
        Ok(match self {
            Self::Bool(value) => Expr::val(value),
            Self::Long(value) => Expr::val(value),
            Self::Text(value) => Expr::val(value),
            Self::Entity(uid) => Expr::val(types.uid(&uid)),
            Self::Var(var) => Expr::var(var),
            Self::If(trees) => {
                let [test, then, otherwise] = *trees;
                Expr::ite(test.cedar(types)?, then.cedar(types)?, otherwise.cedar(types)?)
            }
            Self::And(trees) => two(trees).map(|(left, right)| Expr::and(left, right))?,
            Self::Or(trees) => two(trees).map(|(left, right)| Expr::or(left, right))?,
            Self::Unary(op, tree) => Expr::unary_app(op, one(tree)?),
            Self::Binary(op, trees) => two(trees).map(|(left, right)| Expr::binary_app(op, left, right))?,
            Self::Get(tree, name) => Expr::get_attr(one(tree)?, name.into()),
            Self::Has(tree, name) => Expr::has_attr(one(tree)?, name.into()),
            Self::HasPath(tree, names) => {
                let names = NonEmpty::from_vec(names.into_iter().map(SmolStr::from).collect());
                Expr::extended_has_attr(one(tree)?, names.ok_or("a path without a name")?)
            }
            Self::Like(tree, pieces) => Expr::like(one(tree)?, pattern(&pieces)),
            Self::Is(tree, of) => Expr::is_entity_type(one(tree)?, types.name(of)),
            Self::Set(items) => {
                Expr::set(items.into_iter().map(|item| item.cedar(types)).collect::<Result<Vec<_>, _>>()?)
            }
            Self::Record(fields) => {
                let fields = fields.into_iter().map(|(name, value)| Ok((name.into(), value.cedar(types)?)));
                Expr::record(fields.collect::<Result<Vec<_>, String>>()?).map_err(|error| error.to_string())?
            }
        })
    }
}

fn pieces(pattern: &Pattern) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for element in pattern.iter() {
        match (element, pieces.last_mut()) {
            (PatternElem::Char(c), Some(piece)) => piece.push(*c),
            _ => pieces.push(String::new()),
        }
    }
    pieces
}

fn pattern(pieces: &[String]) -> Pattern {
    let mut elements = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            elements.push(PatternElem::Wildcard);
        }
        elements.extend(piece.chars().map(PatternElem::Char));
    }
    Pattern::from(elements)
}
