//! Handlers of the routes for people and money.
//!
//! Two matches, because there are many; that no route is left out is the test of every route.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use meridian_core::error::GatewayError;
use meridian_core::routes::Route;

use super::reply::AdminError;
use super::state::AdminState;
use super::{budgets, customers, keys, organizations, put, run, tags, teams, transfer, users};

/// Teams and users; what is neither goes on.
pub(super) async fn serve(route: Route, request: Request, state: AdminState) -> Response {
    use Route as R;
    match route {
        R::TeamNew => run(teams::write::new, request, state).await,
        R::TeamUpdate => run(teams::write::update, request, state).await,
        R::TeamDelete => run(teams::write::delete, request, state).await,
        R::TeamRead => run(teams::read::info, request, state).await,
        R::TeamList => run(teams::read::list, request, state).await,
        R::TeamListV2 => run(teams::read::list_v2, request, state).await,
        R::TeamBlock => run(teams::write::block, request, state).await,
        R::TeamUnblock => run(teams::write::unblock, request, state).await,
        R::TeamMemberAdd => run(teams::members::add, request, state).await,
        R::TeamMemberUpdate => run(teams::members::update, request, state).await,
        R::TeamMemberDelete => run(teams::members::delete, request, state).await,
        R::TeamBulkMemberAdd => run(teams::members::bulk_add, request, state).await,
        R::TeamModelAdd => run(teams::write::add_models, request, state).await,
        R::TeamModelDelete => run(teams::write::remove_models, request, state).await,
        R::TeamPermissionsList => run(teams::permissions::list, request, state).await,
        R::TeamPermissionsUpdate => run(teams::permissions::update, request, state).await,
        R::TeamAvailable => run(teams::permissions::available, request, state).await,
        R::TeamMe => run(teams::read::me, request, state).await,
        R::TeamKeyBulkUpdate => run(teams::bulk_update_keys, request, state).await,
        R::TeamPut => run(put::team, request, state).await,
        R::UserNew => run(users::write::new, request, state).await,
        R::UserUpdate => run(users::write::update, request, state).await,
        R::UserBulkUpdate => run(users::write::bulk_update, request, state).await,
        R::UserDelete => run(users::write::delete, request, state).await,
        R::UserRead => run(users::read::info, request, state).await,
        R::UserInfoV2 => run(users::read::info_v2, request, state).await,
        R::UserList => run(users::read::list, request, state).await,
        R::UserAvailableRoles => run(users::read::available_roles, request, state).await,
        R::UserFilter => run(users::read::filter, request, state).await,
        R::UserPut => run(put::user, request, state).await,
        route => serve_money(route, request, state).await,
    }
}

/// Organizations, budgets, customers, tags, and everything at once.
async fn serve_money(route: Route, request: Request, state: AdminState) -> Response {
    use Route as R;
    match route {
        R::OrganizationNew => run(organizations::write::new, request, state).await,
        R::OrganizationUpdate => run(organizations::write::update, request, state).await,
        R::OrganizationDelete => run(organizations::write::delete, request, state).await,
        R::OrganizationRead => run(organizations::read::info, request, state).await,
        R::OrganizationList => run(organizations::read::list, request, state).await,
        R::OrganizationMemberAdd => run(organizations::members::add, request, state).await,
        R::OrganizationMemberUpdate => run(organizations::members::update, request, state).await,
        R::OrganizationMemberDelete => run(organizations::members::delete, request, state).await,
        R::OrganizationPut => run(put::organization, request, state).await,
        R::BudgetNew => run(budgets::new, request, state).await,
        R::BudgetUpdate => run(budgets::update, request, state).await,
        R::BudgetRead => run(budgets::info, request, state).await,
        R::BudgetDelete => run(budgets::delete, request, state).await,
        R::BudgetList => run(budgets::list, request, state).await,
        R::BudgetSettings => run(budgets::settings, request, state).await,
        R::BudgetPut => run(put::budget, request, state).await,
        R::CustomerNew => run(customers::new, request, state).await,
        R::CustomerUpdate => run(customers::update, request, state).await,
        R::CustomerDelete => run(customers::delete, request, state).await,
        R::CustomerBlock => run(customers::block, request, state).await,
        R::CustomerUnblock => run(customers::unblock, request, state).await,
        R::CustomerRead => run(customers::info, request, state).await,
        R::CustomerList => run(customers::list, request, state).await,
        R::CustomerPut => run(put::customer, request, state).await,
        R::TagNew => run(tags::new, request, state).await,
        R::TagUpdate => run(tags::update, request, state).await,
        R::TagDelete => run(tags::delete, request, state).await,
        R::TagRead => run(tags::info, request, state).await,
        R::TagList => run(tags::list, request, state).await,
        R::TagPut => run(put::tag, request, state).await,
        R::KeyPut => run(keys::put::put, request, state).await,
        R::ConfigExport => run(transfer::export, request, state).await,
        R::ConfigImport => run(transfer::import, request, state).await,
        _ => AdminError::Gateway(GatewayError::RouteNotFound).into_response(),
    }
}
